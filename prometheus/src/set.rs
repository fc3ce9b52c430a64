//! The metrics that events move.

use std::{fmt, sync::Arc};

use prometheus_client::{
    encoding::DescriptorEncoder,
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
};

use crate::{
    family::Family,
    labels::Scope::{Pool, Upstream},
};

/// Declares the set of families, with the methods that go through all of them.
macro_rules! families {
    ($($field:ident: $metric:ty, $labels:literal = $new:expr;)*) => {
        /// The metrics that events move.
        #[derive(Debug)]
        pub(crate) struct MetricSet {
            $(pub(crate) $field: Family<$metric, $labels>,)*
        }

        impl MetricSet {
            pub(crate) fn new() -> Self {
                Self { $($field: $new,)* }
            }

            pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
                $(self.$field.encode(encoder)?;)*
                Ok(())
            }

            /// Removes all series of an upstream.
            pub(crate) fn forget(&self, pool: &Arc<str>, upstream: &Arc<str>) {
                $(self.$field.forget(pool, upstream);)*
            }
        }
    };
}

families! {
    tunnels: Gauge, 0 = Family::gauge("tunnels", Upstream, [],
        "Open tunnels.");
    tunnels_closed: Counter, 3 = Family::counter("tunnels_closed", Upstream,
        ["end", "initiator", "code"],
        "Tunnels that ended, by reason, by the side that began the end, and by close code.");
    reattachments: Counter, 2 = Family::counter("reattachments", Upstream, ["outcome", "reason"],
        "Losses of upstreams after which another one was sought: by the lost upstream, with the loss \
         of those that were followed by another upstream, and the refusal of the others.");
    reattachment_gap: Histogram, 0 = Family::fast("reattachment_gap_seconds", Pool, [],
        "Time that reattached tunnels were without an upstream.");
    tunnel_duration: Histogram, 1 = Family::long("tunnel_duration_seconds", Pool, ["end"],
        "Time from the 101 to the end of tunnels that ended.");
    closed_tunnel_frames: Counter, 2 = Family::counter("closed_tunnel_frames", Pool,
        ["direction", "opcode"],
        "Frames of tunnels that ended, by opcode; pings, pongs and closes of the proxy not counted.");
    ping_rtt: Histogram, 1 = Family::fast("ping_rtt_seconds", Pool, ["side"],
        "Round trips of the proxy's pings, by the side that was pinged.");
    limits_reached: Counter, 1 = Family::counter("limits_reached", Pool, ["limit"],
        "Rejections for a limit of the pool or its upstreams, and tunnels that ended for a limit.");
    handshakes: Counter, 2 = Family::counter("handshakes", Upstream, ["outcome", "status"],
        "Handshakes, once for each upstream that was tried, with the upstream's status.");
    handshake_errors: Counter, 1 = Family::counter("handshake_errors", Upstream, ["error"],
        "Handshakes that were rejected or failed, by kind of error.");
    handshake_duration: Histogram, 1 = Family::fast("handshake_duration_seconds", Pool, ["outcome"],
        "Time from the arrival of a handshake to its outcome.");
    connect_duration: Histogram, 0 = Family::fast("connect_duration_seconds", Pool, [],
        "Time to connect to an upstream, TLS included, for handshakes and requests.");
    requests: Counter, 2 = Family::counter("requests", Upstream, ["outcome", "status"],
        "Forwarded requests, once for each upstream that was tried, with the upstream's status.");
    request_errors: Counter, 1 = Family::counter("request_errors", Upstream, ["error"],
        "Forwarded requests that were rejected or failed, by kind of error.");
    request_duration: Histogram, 1 = Family::fast("request_duration_seconds", Pool, ["outcome"],
        "Time from the arrival of a forwarded request to its response or failure.");
    retries: Counter, 1 = Family::counter("retries", Upstream, ["kind"],
        "Further attempts of a handshake or request, by the upstream that was tried then.");
    queue_wait: Histogram, 1 = Family::fast("queue_wait_seconds", Pool, ["outcome"],
        "Time that handshakes waited in the pool's queue.");
    ejections: Counter, 0 = Family::counter("ejections", Upstream, [],
        "Times that an upstream became unhealthy.");
    probes: Counter, 1 = Family::counter("probes", Upstream, ["result"],
        "Probes of an upstream, by result.");
    probe_duration: Histogram, 0 = Family::fast("probe_duration_seconds", Pool, [],
        "Duration of probes that passed.");
    discovery_failures: Counter, 1 = Family::counter("discovery_failures", Pool, ["reason"],
        "Failures of the source of upstreams.");
}

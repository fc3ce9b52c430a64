//! The command line.

mod edge;
mod values;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use wsplice::Upstream;
use wsplice::headers::{TrustedProxies, Via};

use crate::balance::Policy;
use crate::dial::DialArgs;
use crate::discover::Source;
use crate::probe::Probe;

pub(crate) use edge::EdgeArgs;
pub(crate) use values::{DurationOrOff, SizeOrOff};
use values::{at_least_one, directory, duration, limit, listen, route, trust};

/// Serves a site, and takes its WebSocket connections to the upstreams behind it
#[derive(Clone, Debug, Parser)]
#[command(
    name = "gateway",
    next_line_help = true,
    after_help = "Durations take a number and a unit: 500ms, 3s, 1h 30m.\n\
        Sizes are in bytes; k or KiB stands for 1024 of them, m or MiB for 1024 KiB.\n\
        RUST_LOG chooses what is logged: warn, debug, wsplice=trace ... [default: info]"
)]
pub(crate) struct Args {
    /// Address and port to listen on; port 0 is any
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000", value_parser = listen)]
    pub(crate) listen: SocketAddr,

    #[command(flatten)]
    pub(crate) edge: EdgeArgs,

    /// Where WebSocket connections go: ws://HOST:PORT, unix:PATH or, if built
    /// with TLS, wss://HOST:PORT (http:// and https:// are the same); may be
    /// given several times [default: a built-in demo]
    #[arg(long, value_name = "URL", value_parser = Upstream::new, group = "upstreams")]
    #[arg(verbatim_doc_comment)]
    pub(crate) upstream: Vec<Upstream>,

    /// Find upstreams in DNS (feature dns) and follow it: dns:NAME:PORT for
    /// the addresses of a name, srv:NAME for the SRV records of a service
    #[arg(long, value_name = "SOURCE", group = "upstreams")]
    #[arg(verbatim_doc_comment)]
    pub(crate) discover: Option<Source>,

    /// Version of HTTP to speak to upstreams: 1, 2 (which shares connections)
    /// or auto (2 with wss:// upstreams that agree to it)
    #[cfg(feature = "http2")]
    #[arg(long, value_name = "VERSION", default_value = "1")]
    #[arg(value_parser = values::http_version, verbatim_doc_comment)]
    pub(crate) upstream_http: wsplice::connect::HttpVersion,

    /// Paths of the upstreams; may be given several times
    #[arg(long, value_name = "PATTERN", default_value = "/ws/*", value_parser = route)]
    pub(crate) route: Vec<String>,

    /// Take plain HTTP requests on those paths to the upstreams, too: what
    /// Socket.IO, SignalR, Jupyter or Vite send beside their WebSockets
    #[arg(long, verbatim_doc_comment)]
    pub(crate) forward_http: bool,

    /// How to choose among upstreams: least-tunnels, latency, round-robin,
    /// random, first, ip-hash, path-hash, or by the hash of a value in the
    /// request: header:NAME, query:NAME, cookie:NAME
    #[arg(
        long,
        value_name = "NAME",
        default_value = "least-tunnels",
        verbatim_doc_comment
    )]
    pub(crate) balance: Policy,

    /// Bring clients back to the upstream they had before, by a cookie of
    /// this name; it counts until the gateway stops
    #[cfg(feature = "sticky")]
    #[arg(long, value_name = "NAME", value_parser = crate::sticky::sticky)]
    #[arg(verbatim_doc_comment)]
    pub(crate) sticky: Option<wsplice::balance::Sticky>,

    /// Connections that one upstream may have at once [default: no limit]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) max_tunnels: Option<NonZeroUsize>,

    /// How to ask upstreams whether they are well: ws[:PATH] shakes hands and
    /// pings, http[:PATH] wants an answer of 2xx or 3xx, tcp a connection; or
    /// off, and clients find out
    #[arg(
        long,
        value_name = "PROBE",
        default_value = "off",
        verbatim_doc_comment
    )]
    pub(crate) probe: Probe,

    /// Time from one probe of an upstream to the next
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = limit)]
    pub(crate) probe_interval: Duration,

    #[command(flatten)]
    pub(crate) dial: DialArgs,

    #[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
    #[command(flatten)]
    pub(crate) tls: crate::tls::TlsArgs,

    /// Directory to serve everything else from [default: a built-in page]
    #[arg(long = "static", value_name = "DIR", value_parser = directory)]
    pub(crate) static_dir: Option<PathBuf>,

    /// Time for a connection to an upstream to come about
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = limit)]
    pub(crate) connect_timeout: Duration,

    /// Time for an upstream to answer the opening handshake
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = limit)]
    pub(crate) handshake_timeout: Duration,

    /// Time without traffic that ends a connection, or off; the gateway's
    /// own pings are no traffic
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "off",
        verbatim_doc_comment
    )]
    pub(crate) idle_timeout: DurationOrOff,

    /// Time for one side to finish after the other has
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) half_close_timeout: Duration,

    /// Silence after which a side is pinged, or off. On unless turned off:
    /// many a hop on the way drops what is quiet for a minute
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "20s",
        verbatim_doc_comment
    )]
    pub(crate) keep_alive: DurationOrOff,

    /// Time for a pinged side to answer, or it counts as dead
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = limit)]
    pub(crate) pong_timeout: Duration,

    /// Age that ends a connection, less up to a tenth; or off
    #[arg(long, value_name = "DURATION", default_value = "off")]
    pub(crate) max_lifetime: DurationOrOff,

    /// Largest message that either side may send, or off
    #[arg(long, value_name = "SIZE", default_value = "off")]
    pub(crate) max_message: SizeOrOff,

    /// Time that connections get to close at Ctrl-C or SIGTERM
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) drain_timeout: Duration,

    /// Time over which these closes are spread, at most half of the drain
    /// timeout
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    #[arg(verbatim_doc_comment)]
    pub(crate) drain_spread: Duration,

    /// Proxies whose X-Forwarded-* headers are believed: an address or a
    /// range, such as 10.0.0.0/8; may be given several times [default: none]
    #[arg(long, value_name = "CIDR", value_parser = trust, verbatim_doc_comment)]
    pub(crate) trust: Vec<TrustedProxies>,

    /// Name to put into Via headers, beside the version of HTTP that came in
    /// [default: no such header]
    #[arg(long, value_name = "NAME", value_parser = values::via)]
    #[arg(verbatim_doc_comment)]
    pub(crate) via: Option<Via>,

    /// Threads. Each accepts for itself, and keeps its connections: nothing
    /// is locked or handed over, but a busy one gets no help from the others
    /// [default: one for each core]
    #[arg(long, value_name = "N", value_parser = at_least_one, verbatim_doc_comment)]
    pub(crate) threads: Option<NonZeroUsize>,
}

#[cfg(test)]
mod tests;

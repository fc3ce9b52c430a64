//! Observer of one layer.

use std::sync::Arc;

use http::StatusCode;
use wsplice::{
    Error, ErrorKind, Observer, TunnelInfo, TunnelReport,
    observe::RequestInfo,
    tunnel::{DirectionStats, Rtt, Side, TunnelEnd, reattach::UpstreamChange},
};

use crate::{figures::DIRECTIONS, labels, series::Series, shared::Shared, watched::Watched};

/// Observer of one layer, but for the events of its pool.
#[derive(Debug)]
pub(crate) struct LayerObserver {
    shared: Arc<Shared>,
    series: Arc<Series>,
    watched: Watched,
}

impl LayerObserver {
    pub(crate) fn new(shared: Arc<Shared>, name: &str, watched: Watched) -> Self {
        Self {
            series: shared.add(name, &watched),
            shared,
            watched,
        }
    }

    fn add_tunnel(&self, upstream: &str) {
        self.series.add_tunnel(upstream);
        let key = self.series.of_upstream(Some(upstream), []);
        self.series.set.tunnels.inc(key);
    }

    fn remove_tunnel(&self, upstream: &str) {
        let key = self.series.of_upstream(Some(upstream), []);
        self.series.set.tunnels.dec(key);
        self.series.remove_tunnel(upstream);
    }

    fn handshake(&self, info: &RequestInfo<'_>, outcome: &'static str, status: &'static str) {
        let set = &self.series.set;
        set.handshakes
            .inc(self.series.of_upstream(info.upstream, [outcome, status]));
        set.handshake_duration
            .observe(self.series.of_pool([outcome]), info.elapsed);
        self.connected(info);
    }

    fn request(&self, info: &RequestInfo<'_>, outcome: &'static str, status: &'static str) {
        let set = &self.series.set;
        set.requests
            .inc(self.series.of_upstream(info.upstream, [outcome, status]));
        set.request_duration
            .observe(self.series.of_pool([outcome]), info.elapsed);
        self.connected(info);
    }

    fn connected(&self, info: &RequestInfo<'_>) {
        if let Some(connect) = info.connect {
            let histogram = &self.series.set.connect_duration;
            histogram.observe(self.series.of_pool([]), connect);
        }
    }

    fn limit_of(&self, error: &Error) {
        let limit = match error.kind() {
            ErrorKind::TooManyTunnels => "tunnels",
            ErrorKind::TooManyHandshakes => "handshakes",
            ErrorKind::TooManyHandshakesPerSecond => "handshakes_per_second",
            ErrorKind::TooManyTunnelsForKey => "tunnels_for_key",
            ErrorKind::TooManyHandshakesForKey => "handshakes_for_key",
            _ => return,
        };
        self.series
            .set
            .limits_reached
            .inc(self.series.of_pool([limit]));
    }

    fn frames(&self, direction: &'static str, stats: &DirectionStats) {
        let frames = stats.frames;
        for (opcode, count) in [
            ("text", frames.text),
            ("binary", frames.binary),
            ("continuation", frames.continuation),
            ("ping", frames.ping),
            ("pong", frames.pong),
            ("close", frames.close),
            ("reserved", frames.reserved),
        ] {
            if count > 0 {
                let key = self.series.of_pool([direction, opcode]);
                self.series.set.closed_tunnel_frames.add(key, count);
            }
        }
    }
}

impl Observer for LayerObserver {
    fn handshake_accepted(&self, handshake: &RequestInfo<'_>) {
        self.handshake(handshake, "accepted", "101");
    }

    fn handshake_refused(&self, handshake: &RequestInfo<'_>, status: StatusCode) {
        self.handshake(handshake, "refused", labels::status(status));
    }

    fn handshake_rejected(&self, handshake: &RequestInfo<'_>, error: &Error) {
        self.handshake(handshake, "rejected", "");
        let key = self
            .series
            .of_upstream(handshake.upstream, [error.kind().as_str()]);
        self.series.set.handshake_errors.inc(key);
        self.limit_of(error);
    }

    fn handshake_failed(&self, handshake: &RequestInfo<'_>, error: &Error) {
        self.handshake(handshake, "failed", "");
        let key = self
            .series
            .of_upstream(handshake.upstream, [error.kind().as_str()]);
        self.series.set.handshake_errors.inc(key);
    }

    fn handshake_retried(&self, handshake: &RequestInfo<'_>, _attempt: usize) {
        let key = self.series.of_upstream(handshake.upstream, ["handshake"]);
        self.series.set.retries.inc(key);
    }

    fn request_responded(&self, request: &RequestInfo<'_>, status: StatusCode) {
        self.request(request, "responded", labels::status(status));
    }

    fn request_rejected(&self, request: &RequestInfo<'_>, error: &Error) {
        self.request(request, "rejected", "");
        let key = self
            .series
            .of_upstream(request.upstream, [error.kind().as_str()]);
        self.series.set.request_errors.inc(key);
        self.limit_of(error);
    }

    fn request_failed(&self, request: &RequestInfo<'_>, error: &Error) {
        self.request(request, "failed", "");
        let key = self
            .series
            .of_upstream(request.upstream, [error.kind().as_str()]);
        self.series.set.request_errors.inc(key);
    }

    fn request_retried(&self, request: &RequestInfo<'_>, _attempt: usize) {
        let key = self.series.of_upstream(request.upstream, ["request"]);
        self.series.set.retries.inc(key);
    }

    fn tunnel_opened(&self, tunnel: &TunnelInfo) {
        self.add_tunnel(&tunnel.upstream);
    }

    fn tunnel_reattached(&self, _tunnel: &TunnelInfo, change: &UpstreamChange) {
        self.add_tunnel(&change.to);
        let labels = ["reattached", change.loss.as_str()];
        let set = &self.series.set;
        set.reattachments
            .inc(self.series.of_upstream(Some(&change.from), labels));
        set.reattachment_gap
            .observe(self.series.of_pool([]), change.gap);
        self.remove_tunnel(&change.from);
    }

    fn tunnel_closed(&self, tunnel: &TunnelInfo, report: &TunnelReport) {
        let set = &self.series.set;
        let (end, code) = (report.end.as_str(), report.close_code().as_str());
        let labels = [end, report.initiator.as_str(), code];
        let last_change = report.upstream_changes.last();
        let upstream = last_change.map_or(&tunnel.upstream, |change| &change.to);
        if let Some(refusal) = report.reattach_refusal {
            let labels = ["ended", refusal.as_str()];
            set.reattachments
                .inc(self.series.of_upstream(Some(upstream), labels));
        }
        set.tunnels_closed
            .inc(self.series.of_upstream(Some(upstream), labels));
        set.tunnel_duration
            .observe(self.series.of_pool([end]), report.duration);
        let directions = [&report.client_to_upstream, &report.upstream_to_client];
        for (direction, stats) in DIRECTIONS.into_iter().zip(directions) {
            self.frames(direction, stats);
        }
        if let TunnelEnd::Limit(limit, _) = &report.end {
            set.limits_reached
                .inc(self.series.of_pool([limit.as_str()]));
        }
        self.remove_tunnel(upstream);
    }

    fn pong(&self, _tunnel: &TunnelInfo, side: Side, rtt: Rtt) {
        let key = self.series.of_pool([side.as_str()]);
        self.series.set.ping_rtt.observe(key, rtt.last());
    }
}

impl Drop for LayerObserver {
    fn drop(&mut self) {
        self.shared.remove(self.series.name(), &self.watched);
    }
}

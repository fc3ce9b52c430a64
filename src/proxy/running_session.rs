//! A session whose tunnel runs, with one upstream after another if it loses one.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    error::Side,
    escaped::Escaped,
    frame::{CloseCode, CloseFrame},
    net::transport::Transport,
    pool::Lease,
    task::catch_panic,
    tunnel::{
        NextUpstream, Search, Tunnel, UpstreamContext, close_at_once,
        info::TunnelInfo,
        reattach::{Loss, ReattachRefusal, Restoration},
        report::{TunnelEnd, TunnelReport},
    },
    upstream::Member,
};

use super::settings::Settings;

/// A session whose tunnel runs. Reports the end exactly once, at the latest when it is dropped.
pub(super) struct RunningSession {
    tunnel: Tunnel,
    settings: Arc<Settings>,
    /// `None` once the end was reported, and from the loss of an upstream until the next one.
    lease: Option<Lease>,
    /// Present if the tunnel may get another upstream.
    reconnection: Option<Box<Reconnection>>,
}

/// The means for another upstream, and the handshake with it.
struct Reconnection {
    reconnect: Arc<dyn Reconnect>,
    under_way: Option<(Search, Reconnecting)>,
    /// The next upstream of a tunnel that has not left its upstream yet.
    found: Option<Box<NextLeg>>,
    /// Whether the tunnel has no upstream, and its end was not reported.
    is_pending: bool,
}

/// Makes the handshake of a running tunnel again.
pub(super) trait Reconnect: Send + Sync {
    /// Returns the next upstream of the tunnel, within a bounded time.
    fn reconnect(self: Arc<Self>, tunnel: &TunnelInfo, occasion: Occasion) -> Reconnecting;
}

/// Occasion of a handshake with another upstream.
pub(super) enum Occasion {
    /// The tunnel has lost its upstream.
    Loss(Loss),
    /// The tunnel leaves this upstream.
    Move { from: Arc<Member> },
}

impl Occasion {
    /// The loss, as it is reported.
    pub(super) const fn loss(&self) -> Loss {
        match self {
            Self::Loss(loss) => *loss,
            Self::Move { .. } => Loss::Moved,
        }
    }
}

/// The handshake with the next upstream.
pub(super) type Reconnecting = Pin<Box<dyn Future<Output = Result<NextLeg, NotReattached>> + Send>>;

/// The reason why there is no next upstream.
pub(super) struct NotReattached {
    pub(super) refusal: ReattachRefusal,
    /// The close frame of the host for the client.
    pub(super) frame: Option<CloseFrame>,
}

impl From<ReattachRefusal> for NotReattached {
    fn from(refusal: ReattachRefusal) -> Self {
        Self {
            refusal,
            frame: None,
        }
    }
}

/// The connection to the next upstream of a tunnel.
pub(super) struct NextLeg {
    pub(super) transport: Transport,
    pub(super) read_ahead: Bytes,
    pub(super) context: UpstreamContext,
    pub(super) restoration: Restoration,
    pub(super) lease: Lease,
}

impl Reconnection {
    fn new(reconnect: Arc<dyn Reconnect>) -> Self {
        Self {
            reconnect,
            under_way: None,
            found: None,
            is_pending: false,
        }
    }

    /// Begins a search, unless it is under way, and polls it.
    fn poll_search(
        &mut self,
        search: Search,
        tunnel: &TunnelInfo,
        occasion: impl FnOnce() -> Occasion,
        cx: &mut Context<'_>,
    ) -> Poll<Result<NextLeg, NotReattached>> {
        self.under_way.take_if(|(other, _)| *other != search);
        let (_, reconnecting) = self.under_way.get_or_insert_with(|| {
            let reconnect = Arc::clone(&self.reconnect);
            (search, reconnect.reconnect(tunnel, occasion()))
        });
        let next = ready!(reconnecting.as_mut().poll(cx));
        self.under_way = None;
        Poll::Ready(next)
    }

    /// Ends a search that has become pointless.
    fn give_up_search(&mut self) {
        self.under_way = None;
        if let Some(found) = self.found.take() {
            close_at_once(found.transport, CloseCode::GOING_AWAY);
        }
    }
}

impl RunningSession {
    pub(super) fn new(
        tunnel: Tunnel,
        settings: Arc<Settings>,
        lease: Lease,
        reconnect: Option<Arc<dyn Reconnect>>,
    ) -> Self {
        Self {
            tunnel,
            settings,
            lease: Some(lease),
            reconnection: reconnect.map(Reconnection::new).map(Box::new),
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // No report leaves this loop: a pending poll would pay for the place of one.
        loop {
            let polled = Pin::new(&mut self.tunnel).poll(cx);
            if self.tunnel.has_rtt_update() {
                self.report_pongs();
            }
            if let Poll::Ready(report) = polled {
                if self.tunnel.take_report_due() {
                    self.record_end(&report);
                }
                self.report_closed(&report);
                return Poll::Ready(());
            }
            if self.poll_reconnection(cx).is_pending() {
                break;
            }
        }
        if self.tunnel.take_report_due() {
            self.record_end(&self.tunnel.report());
        }
        Poll::Pending
    }

    /// Gives a tunnel that needs another upstream the next one, or its end. Ready if the tunnel must be
    /// polled again.
    fn poll_reconnection(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(reconnection) = &mut self.reconnection else {
            return Poll::Pending;
        };
        match self.tunnel.search() {
            Search::None => {
                reconnection.give_up_search();
                Poll::Pending
            }
            Search::Over => Poll::Pending,
            Search::AfterLoss(loss) => self.poll_next(loss, cx),
            Search::Move => self.poll_move(cx),
        }
    }

    /// Gives a tunnel without an upstream the next one.
    fn poll_next(&mut self, loss: Loss, cx: &mut Context<'_>) -> Poll<()> {
        let Some(reconnection) = &mut self.reconnection else {
            return Poll::Pending;
        };
        if let Some(lease) = self.lease.take() {
            reconnection.is_pending = true;
            record_loss(&mut self.tunnel, &lease, loss);
        }
        let next = match reconnection.found.take() {
            Some(found) => Ok(*found),
            None => {
                let search = Search::AfterLoss(loss);
                let occasion = || Occasion::Loss(loss);
                ready!(reconnection.poll_search(search, self.tunnel.info(), occasion, cx))
            }
        };
        match next {
            Ok(next) => {
                reconnection.is_pending = false;
                self.attach(next);
            }
            Err(NotReattached { refusal, frame }) => {
                self.tunnel.end_reattachment(refusal, frame);
                self.report_refusal(loss, refusal);
            }
        }
        Poll::Ready(())
    }

    /// Finds another upstream for a tunnel that is to be moved.
    fn poll_move(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(reconnection), Some(lease)) = (&mut self.reconnection, &self.lease) else {
            return Poll::Pending;
        };
        let from = || Occasion::Move {
            from: Arc::clone(lease.member()),
        };
        let info = self.tunnel.info();
        match ready!(reconnection.poll_search(Search::Move, info, from, cx)) {
            Ok(next) => {
                reconnection.found = Some(Box::new(next));
                self.tunnel.leave_upstream();
            }
            Err(NotReattached { refusal, frame }) => {
                self.tunnel.refuse_move(refusal, frame);
                self.report_refusal(Loss::Moved, refusal);
            }
        }
        Poll::Ready(())
    }

    fn attach(&mut self, next: NextLeg) {
        let NextLeg {
            transport,
            read_ahead,
            context,
            restoration,
            lease,
        } = next;
        let member = lease.member();
        let next = NextUpstream {
            name: member.shared_name(),
            transport,
            read_ahead,
            context,
            restoration,
        };
        self.tunnel.attach(next, member.open_tunnels());
        lease.close_if_lost(self.tunnel.entry());
        self.lease = Some(lease);
        let info = self.tunnel.info();
        let Some(change) = self.tunnel.last_upstream_change() else {
            return;
        };
        self.settings
            .notify(|observer| observer.tunnel_reattached(info, change));
        tracing::info!(
            "wsplice.tunnel.id" = info.id,
            "wsplice.upstream" = %Escaped(&change.to),
            "wsplice.lost_upstream" = %Escaped(&change.from),
            "wsplice.loss" = change.loss.as_str(),
            "wsplice.gap" = change.gap.as_secs_f64(),
            "tunnel reattached"
        );
    }

    fn report_refusal(&self, loss: Loss, refusal: ReattachRefusal) {
        let info = self.tunnel.info();
        self.settings
            .notify(|observer| observer.reattachment_failed(info, loss, refusal));
        tracing::info!(
            "wsplice.tunnel.id" = info.id,
            "wsplice.loss" = loss.as_str(),
            "error.type" = refusal.as_str(),
            "tunnel not reattached"
        );
    }

    /// Shows the pool and the observer the round trips that were measured.
    fn report_pongs(&mut self) {
        for (side, rtt) in self.tunnel.take_rtt_updates() {
            let Some(rtt) = rtt else { continue };
            if let (Side::Upstream, Some(lease)) = (side, &self.lease) {
                lease.member().sample_latency(rtt.last(), Instant::now());
            }
            self.settings.notify(|observer| {
                observer.pong(self.tunnel.info(), side, rtt);
            });
        }
    }

    /// Shows the pool the end as soon as it is certain: an upstream is known to be lost before the
    /// client has answered our close frame.
    fn record_end(&self, report: &TunnelReport) {
        let Some(lease) = &self.lease else { return };
        let refusal = report.reattach_refusal;
        if refusal.is_some_and(ReattachRefusal::is_of_attached) {
            // The end is that of an earlier upstream.
            return;
        }
        // Policies of the host judge it.
        if catch_panic(|| lease.record_tunnel_end(report)).is_err() {
            tracing::error!("a health policy panicked");
        }
    }

    fn report_closed(&mut self, report: &TunnelReport) {
        // Before the observer sees the end, so that it finds the counts right.
        self.lease = None;
        if let Some(mut reconnection) = self.reconnection.take() {
            reconnection.give_up_search();
        }
        let info = self.tunnel.info();
        // Before the logs, whose subscriber may panic.
        self.settings.notify(|observer| {
            observer.tunnel_closed(info, report);
        });
        tracing::info!(
            "wsplice.tunnel.id" = info.id,
            "wsplice.tunnel.key" = info.key().map(|key| display(Escaped(key))),
            "wsplice.tunnel.label" = info.label().map(|label| display(Escaped(label))),
            "url.path" = %Escaped(&info.path),
            "client.address" = info.client.map(|client| display(client.ip())),
            "wsplice.upstream" = %Escaped(&info.upstream),
            "wsplice.end" = report.end.as_str(),
            "wsplice.initiator" = report.initiator.as_str(),
            "wsplice.close_code" = report.close_code().as_u16(),
            "error.type" = report.end.failed_side().map(|_| report.end.as_str()),
            "wsplice.bytes.client_to_upstream" = report.client_to_upstream.bytes,
            "wsplice.bytes.upstream_to_client" = report.upstream_to_client.bytes,
            "wsplice.duration" = report.duration.as_secs_f64(),
            "wsplice.end.reason" = %Escaped(&report.end),
            "tunnel closed"
        );
    }
}

impl Drop for RunningSession {
    fn drop(&mut self) {
        let reconnection = self.reconnection.as_ref();
        let is_pending = reconnection.is_some_and(|reconnection| reconnection.is_pending);
        if is_pending || self.lease.is_some() {
            let report = self.tunnel.abandon();
            self.report_closed(&report);
        }
    }
}

/// Releases a lost upstream, and shows the pool the loss, if it is one.
fn record_loss(tunnel: &mut Tunnel, lease: &Lease, loss: Loss) {
    tunnel.leave_owner();
    if loss == Loss::Moved {
        return;
    }
    let mut report = TunnelReport::new(TunnelEnd::of_loss(loss), Side::Upstream);
    report.duration = tunnel.time_with_upstream();
    // Policies of the host judge it.
    if catch_panic(|| lease.record_tunnel_end(&report)).is_err() {
        tracing::error!("a health policy panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_means_for_another_upstream_are_small() {
        println!("{} bytes", size_of::<Reconnection>());
        assert!(size_of::<Reconnection>() <= 56);
    }
}

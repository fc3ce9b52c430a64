//! Lease of an upstream.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    error::{Error, ErrorKind},
    http::relay::{Relay, RelayEntry, ResponseLength},
    task::catch_panic,
    tunnel::registry::Entry,
    tunnel::report::TunnelReport,
    upstream::admission::AdmissionKind,
    upstream::health::{EventOrigin, HealthEvent, HealthEventKind},
    upstream::{CloseOrder, Member},
};

use super::{route_gate::RoutePermit, state::PoolState};

/// Lease of an upstream and its pool: counts from the pick to the end of the tunnel, or of the
/// request.
#[derive(Debug)]
pub(crate) struct Lease {
    member: Arc<Member>,
    pool: Arc<PoolState>,
    /// Number of the pool's close orders before the pick.
    close_orders: u32,
    is_handshaking: bool,
    /// Whether the client is one of the few that try a half-open upstream.
    is_trial: bool,
    origin: EventOrigin,
    /// Place that the route's own limits count. Boxed, because few routes have limits of their own.
    permit: Option<Box<RoutePermit>>,
}

impl Lease {
    /// Creates a lease that both limiters have admitted.
    pub(super) fn new(
        member: Arc<Member>,
        pool: Arc<PoolState>,
        kind: AdmissionKind,
        origin: EventOrigin,
        now: Instant,
    ) -> Self {
        member.event_counters().attempt();
        if member.is_doubtful() {
            member.with_doubt(|doubt| doubt.try_one(now));
        }
        Self {
            is_trial: member.begin_trial(),
            member,
            pool,
            close_orders: 0,
            is_handshaking: matches!(kind, AdmissionKind::Tunnel),
            origin,
            permit: None,
        }
    }

    /// Ends the trial of a half-open upstream, once its result is known.
    pub(crate) fn end_trial(&mut self) {
        if std::mem::take(&mut self.is_trial) {
            self.member.end_trial();
        }
    }

    pub(crate) const fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Keeps the place of the route's own limits until the end.
    pub(super) fn with_permit(mut self, permit: Option<RoutePermit>) -> Self {
        self.permit = permit.map(Box::new);
        self
    }

    /// Sets the number of close orders that came before the member set was read.
    pub(super) const fn after_orders(mut self, close_orders: u32) -> Self {
        self.close_orders = close_orders;
        self
    }

    /// Whether the lease is older than the order, so that its tunnel is to be closed.
    const fn is_before(&self, order: &CloseOrder) -> bool {
        // The number wraps around one day; a large difference means that it is behind.
        let ahead = order.number.wrapping_sub(self.close_orders);
        0 < ahead && ahead < u32::MAX / 2
    }

    /// Records the result of a client's handshake with an upstream, which began at `began`. `kind`
    /// is `None` if the upstream did not cause the result.
    pub(crate) fn record_event(&self, kind: Option<HealthEventKind>, began: Instant) {
        let Some(kind) = kind else { return };
        let (now, counters) = (Instant::now(), self.member.event_counters());
        match kind {
            HealthEventKind::Accepted { latency } => {
                self.member.sample_latency(latency, now);
                counters.open_tunnel();
            }
            HealthEventKind::Refused { .. } => counters.refuse(),
            HealthEventKind::Forwarded { status } if status.is_server_error() => counters.refuse(),
            _ => {}
        }
        let event = HealthEvent::new(now, kind).started_at(began);
        self.record(&event.from(self.origin));
    }

    /// Records an attempt that failed, which began at `began`.
    ///
    /// A failure that is not the upstream's says nothing about its health. But one that keeps an
    /// attempt from the upstream, such as a name without an address, makes others preferable.
    pub(crate) fn record_failure(&self, error: &Error, began: Instant) {
        self.member.event_counters().fail(error.kind());
        if matches!(error.kind(), ErrorKind::Resolve | ErrorKind::LocalShortage) {
            self.member.with_doubt(|doubt| doubt.fail(Instant::now()));
        }
        self.record_event(HealthEventKind::of_error(error), began);
    }

    /// Records the end of the tunnel.
    pub(crate) fn record_tunnel_end(&self, report: &TunnelReport) {
        if let Some(kind) = HealthEventKind::of_report(report) {
            let event = HealthEvent::new(Instant::now(), kind);
            self.record(&event.from(self.origin));
        }
    }

    /// Takes in an event. A panic of the host's policy costs no client its connection.
    fn record(&self, event: &HealthEvent) {
        if catch_panic(|| self.pool.observe(&self.member, event)).is_err() {
            tracing::error!("a health policy or an observer panicked");
        }
    }

    /// Closes or moves a tunnel that was just registered, if an order for those of its upstream came
    /// while its handshake was under way.
    pub(crate) fn close_if_lost(&self, entry: &Entry) {
        if let Some(order) = self.close_order() {
            order.send(entry, Instant::now());
            // A resume in between has found nothing to call off.
            if self.member.close_order().is_none() {
                entry.cancel_revocable(order.revocable);
            }
        }
    }

    /// Lists a response that is relayed, so that it ends with its upstream: also if the order to close
    /// came while the request was under way.
    pub(crate) fn enter_response(&self, relay: &Arc<Relay>, length: ResponseLength) -> RelayEntry {
        let entry = self.member.responses().enter(relay, length);
        if let Some(order) = self.close_order() {
            order.break_off(relay, length, Instant::now());
            // A resume in between has found nothing to call off.
            if self.member.close_order().is_none() {
                relay.cancel_drain();
            }
        }
        entry
    }

    /// Returns the order to close what was leased before it, if this was.
    fn close_order(&self) -> Option<CloseOrder> {
        let order = self.member.close_order();
        order.filter(|order| self.is_before(order))
    }

    /// Ends the handshake; the tunnel remains counted.
    pub(crate) fn end_handshake(&mut self) {
        self.end_trial();
        if let Some(permit) = &mut self.permit {
            permit.end_handshake();
        }
        if std::mem::take(&mut self.is_handshaking) {
            self.member.counters().end_handshake();
            self.pool.counters().end_handshake();
            self.pool.update_room(&self.member);
            self.pool.queue().call();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end_trial();
        self.end_handshake();
        self.member.counters().end_tunnel();
        self.pool.counters().end_tunnel();
        self.pool.update_room(&self.member);
        self.pool.queue().call();
    }
}

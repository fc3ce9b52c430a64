//! Lease of an upstream.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    upstream::admission::AdmissionKind,
    upstream::health::EventOrigin,
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

    /// Returns the client and the path that the upstream was leased for.
    pub(super) const fn origin(&self) -> EventOrigin {
        self.origin
    }

    /// Ends the trial of a half-open upstream, once its result is known.
    pub(super) fn end_trial(&mut self) {
        if std::mem::take(&mut self.is_trial) {
            self.member.end_trial();
        }
    }

    pub(super) fn pool(&self) -> &PoolState {
        &self.pool
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
    pub(super) const fn is_before(&self, order: &CloseOrder) -> bool {
        // The number wraps around one day; a large difference means that it is behind.
        let ahead = order.number.wrapping_sub(self.close_orders);
        0 < ahead && ahead < u32::MAX / 2
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

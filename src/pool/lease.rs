//! Lease of an upstream.

use std::sync::Arc;

use crate::{
    upstream::admission::AdmissionKind,
    upstream::{CloseOrder, Member},
};

use super::state::PoolState;

/// Lease of an upstream and its pool: counts from the pick to the end of the tunnel, or of the
/// request.
#[derive(Debug)]
pub(crate) struct Lease {
    member: Arc<Member>,
    pool: Arc<PoolState>,
    /// Number of the pool's close orders before the pick.
    close_orders: u32,
    is_handshaking: bool,
}

impl Lease {
    /// Creates a lease that both limiters have admitted.
    pub(super) const fn new(
        member: Arc<Member>,
        pool: Arc<PoolState>,
        kind: AdmissionKind,
    ) -> Self {
        Self {
            member,
            pool,
            close_orders: 0,
            is_handshaking: matches!(kind, AdmissionKind::Tunnel),
        }
    }

    pub(super) fn pool(&self) -> &PoolState {
        &self.pool
    }

    pub(crate) const fn member(&self) -> &Arc<Member> {
        &self.member
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
        self.end_handshake();
        self.member.counters().end_tunnel();
        self.pool.counters().end_tunnel();
        self.pool.update_room(&self.member);
        self.pool.queue().call();
    }
}

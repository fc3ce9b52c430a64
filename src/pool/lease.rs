//! Lease of an upstream.

use std::sync::Arc;

use crate::{
    upstream::admission::Visit,
    upstream::{Loss, Member},
};

use super::state::State;

/// Lease of an upstream and its pool: counts from the pick to the end of the tunnel, or of the
/// request.
#[derive(Debug)]
pub(crate) struct Lease {
    member: Arc<Member>,
    pool: Arc<State>,
    /// Number of the pool's close orders before the pick.
    losses: u32,
    shaking_hands: bool,
}

impl Lease {
    /// Creates a lease that both limiters have admitted.
    pub(super) const fn new(member: Arc<Member>, pool: Arc<State>, visit: Visit) -> Self {
        Self {
            member,
            pool,
            losses: 0,
            shaking_hands: matches!(visit, Visit::Tunnel),
        }
    }

    pub(super) fn pool(&self) -> &State {
        &self.pool
    }

    pub(crate) const fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Sets the number of close orders that came before the member set was read.
    pub(super) const fn after(mut self, losses: u32) -> Self {
        self.losses = losses;
        self
    }

    /// Whether the lease is older than the order, so that its tunnel is to be closed.
    pub(super) const fn is_before(&self, loss: &Loss) -> bool {
        // The number wraps around one day; a large difference means that it is behind.
        let ahead = loss.number.wrapping_sub(self.losses);
        0 < ahead && ahead < u32::MAX / 2
    }

    /// Ends the handshake; the tunnel remains counted.
    pub(crate) fn settle(&mut self) {
        if std::mem::take(&mut self.shaking_hands) {
            self.member.gate().leave_handshake();
            self.pool.gate().leave_handshake();
            self.pool.queue().call();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.settle();
        self.member.gate().leave_tunnel();
        self.pool.gate().leave_tunnel();
        self.pool.queue().call();
    }
}

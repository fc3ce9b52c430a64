//! A tunnel's claim on its upstream.

use std::sync::Arc;

use tokio::time::Instant;

use crate::upstream::Member;

use super::state::State;

/// A claim on an upstream and its pool: counted from the pick to the tunnel's end.
#[derive(Debug)]
pub(crate) struct Lease {
    member: Arc<Member>,
    pool: Arc<State>,
    picked_at: Instant,
    shaking_hands: bool,
}

impl Lease {
    /// A claim that both gates have let in.
    pub(super) const fn new(member: Arc<Member>, pool: Arc<State>, picked_at: Instant) -> Self {
        Self {
            member,
            pool,
            picked_at,
            shaking_hands: true,
        }
    }

    pub(crate) const fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Before it was looked who may be picked.
    pub(super) const fn picked_at(&self) -> Instant {
        self.picked_at
    }

    /// The handshake is over; the tunnel goes on being counted.
    pub(crate) fn settle(&mut self) {
        if std::mem::take(&mut self.shaking_hands) {
            self.member.gate().leave_handshake();
            self.pool.gate().leave_handshake();
            self.pool.call_next();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.settle();
        self.member.gate().leave_tunnel();
        self.pool.gate().leave_tunnel();
        self.pool.call_next();
    }
}

//! A tunnel's claim on its upstream.

use std::sync::Arc;

use crate::{
    upstream::admission::Visit,
    upstream::{Loss, Member},
};

use super::state::State;

/// A claim on an upstream and its pool: counted from the pick to the end of the tunnel, or of the
/// exchange.
#[derive(Debug)]
pub(crate) struct Lease {
    member: Arc<Member>,
    pool: Arc<State>,
    /// How many losses of tunnels there had been in the pool before it was picked.
    losses: u32,
    shaking_hands: bool,
}

impl Lease {
    /// A claim that both gates have let in.
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

    /// Says how many losses of tunnels there had been before it was looked who may be picked.
    pub(super) const fn after(mut self, losses: u32) -> Self {
        self.losses = losses;
        self
    }

    /// Whether the tunnels of its upstream were given up since it was picked.
    pub(super) const fn is_before(&self, loss: &Loss) -> bool {
        // The number wraps around one day; what is far ahead is behind.
        let ahead = loss.number.wrapping_sub(self.losses);
        0 < ahead && ahead < u32::MAX / 2
    }

    /// The handshake is over; the tunnel goes on being counted.
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

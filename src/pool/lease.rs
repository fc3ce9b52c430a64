//! A tunnel's claim on its upstream.

use std::sync::Arc;

use crate::{admission::Visit, upstream::Member};

use super::state::State;

/// A claim on an upstream and its pool: counted from the pick to the end of the tunnel, or of the
/// exchange.
#[derive(Debug)]
pub(crate) struct Lease {
    member: Arc<Member>,
    pool: Arc<State>,
    shaking_hands: bool,
}

impl Lease {
    /// A claim that both gates have let in.
    pub(super) const fn new(member: Arc<Member>, pool: Arc<State>, visit: Visit) -> Self {
        Self {
            member,
            pool,
            shaking_hands: matches!(visit, Visit::Tunnel),
        }
    }

    pub(crate) const fn member(&self) -> &Arc<Member> {
        &self.member
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

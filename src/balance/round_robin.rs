//! One after the other.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::head::RequestHead;

use super::{Balance, Candidates};

/// Takes the upstreams in turn.
#[derive(Debug, Default)]
pub struct RoundRobin {
    turn: AtomicUsize,
}

impl RoundRobin {
    /// Begins with the first upstream.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            turn: AtomicUsize::new(0),
        }
    }
}

impl Balance for RoundRobin {
    fn pick(&self, candidates: &Candidates<'_>, _request: &RequestHead<'_>) -> Option<usize> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        turn.checked_rem(candidates.len())
    }
}

//! State of a tunnel that may get another upstream.

use std::{collections::VecDeque, io, sync::Arc};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    frame::Rsv,
    tunnel::reattach::{Filter, History, Loss, ReattachRefusal, UpstreamChange},
};

use super::parts::ReattachParts;

/// Number of changes of the upstream that a report has. A tunnel may live for months, and its
/// upstreams must not make its memory grow.
const MAX_CHANGES: usize = 64;

/// State of a tunnel that may get another upstream.
pub(super) struct Reattaching {
    pub(super) agreement: Option<ReattachRefusal>,
    pub(super) reserved_bits: Rsv,
    pub(super) filter: Filter,
    pub(super) history: History,
    pub(super) state: State,
    /// Name of the upstream that the tunnel has, or had last.
    pub(super) upstream: Arc<str>,
    /// The latest changes, at most [`MAX_CHANGES`].
    pub(super) changes: VecDeque<UpstreamChange>,
    pub(super) refusal: Option<ReattachRefusal>,
}

/// Whether the tunnel has an upstream.
pub(super) enum State {
    Attached,
    /// Writing to the upstream failed. The bytes that it sent before are read first.
    Failing(io::ErrorKind),
    Detached(Box<Detached>),
    /// The tunnel gets no other upstream.
    Off,
}

/// An upstream that was lost.
pub(super) struct Detached {
    pub(super) loss: Loss,
    pub(super) at: Instant,
    /// The close frame of the lost upstream.
    pub(super) close: Bytes,
}

impl Reattaching {
    pub(super) fn new(parts: ReattachParts, upstream: Arc<str>) -> Self {
        Self {
            agreement: parts.agreement,
            reserved_bits: parts.reserved_bits,
            filter: Filter::new(parts.settings),
            history: History::default(),
            state: State::Attached,
            upstream,
            changes: VecDeque::new(),
            refusal: None,
        }
    }

    /// Records a change of the upstream, and forgets the oldest one if there are too many.
    pub(super) fn record(&mut self, change: UpstreamChange, now: Instant) {
        if self.changes.len() == MAX_CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
        self.history.record(now);
    }

    /// The filter of control frames, while it is needed.
    pub(super) const fn filter(&mut self) -> Option<&mut Filter> {
        match self.state {
            State::Off => None,
            _ => Some(&mut self.filter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_reattachment_is_small() {
        println!("{} bytes", size_of::<Reattaching>());
        assert!(size_of::<Reattaching>() <= 168);
    }
}

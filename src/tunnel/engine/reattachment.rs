//! State of a tunnel that may get another upstream.

use std::{collections::VecDeque, io, sync::Arc};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    frame::Rsv,
    tunnel::reattach::{
        Filter, History, Loss, ReattachRefusal, Situation, UpstreamChange, refusal_after_loss,
    },
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
    pub(super) state: State,
    /// The move that was ordered, until the upstream has our close frame.
    planned: Option<Box<Planned>>,
    /// Name of the upstream that the tunnel has, or had last.
    pub(super) upstream: Arc<str>,
    pub(super) refusal: Option<ReattachRefusal>,
    /// Exists from the first change of the upstream on.
    past: Option<Box<Past>>,
}

/// The upstreams that a tunnel has had.
#[derive(Default)]
struct Past {
    history: History,
    /// The latest changes, at most [`MAX_CHANGES`].
    changes: VecDeque<UpstreamChange>,
}

/// Whether the tunnel has an upstream.
pub(super) enum State {
    Attached,
    /// Writing to the upstream failed. The bytes that it sent before are read first.
    Failing(io::ErrorKind),
    /// The upstream has a close frame of ours, and another one has accepted the handshake. The
    /// client still gets the last messages.
    Parting(Box<Parting>),
    Detached(Box<Detached>),
    /// The tunnel gets no other upstream.
    Off,
}

/// A move to another upstream, while the tunnel has the one that it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planned {
    /// The move begins at this moment.
    Scheduled { at: Instant },
    /// The host decides about the next upstream, by the messages that this one has. So the client has
    /// until this moment to end its message, and is not read then.
    Pausing { until: Instant },
    /// Another upstream is sought.
    Seeking,
    /// Another upstream has accepted the handshake, and the client has until this moment to end its
    /// message.
    Leaving { until: Instant },
}

/// An upstream that has our close frame.
pub(super) struct Parting {
    pub(super) since: Instant,
    /// The moment until which its messages go to the client.
    pub(super) until: Instant,
    pub(super) needs_flush: bool,
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
            state: State::Attached,
            planned: None,
            upstream,
            refusal: None,
            past: None,
        }
    }

    /// Records a change of the upstream, and forgets the oldest one if there are too many.
    pub(super) fn record(&mut self, change: UpstreamChange, now: Instant) {
        let Past { history, changes } = &mut **self.past.get_or_insert_default();
        if changes.len() == MAX_CHANGES {
            changes.pop_front();
        }
        // The limit is for the losses that a client may cause.
        if change.loss != Loss::Moved {
            history.record(now);
        }
        changes.push_back(change);
    }

    /// Notes that messages were replayed to the upstream.
    pub(super) fn record_replay(&mut self, now: Instant) {
        let past = self.past.get_or_insert_default();
        past.history.record_replay(now);
    }

    /// Returns why the tunnel must not get another upstream after a loss, or `None` if it may.
    pub(super) fn refusal_after_loss(
        &self,
        situation: &Situation,
        now: Instant,
    ) -> Option<ReattachRefusal> {
        let (past, none) = (self.past.as_ref(), History::default());
        let history = past.map_or(&none, |past| &past.history);
        refusal_after_loss(situation, self.filter.settings(), history, now)
    }

    /// The latest changes of the upstream, the oldest first.
    pub(super) fn changes(&self) -> impl DoubleEndedIterator<Item = &UpstreamChange> {
        self.past.iter().flat_map(|past| &past.changes)
    }

    /// The move that was ordered.
    pub(super) fn planned(&self) -> Option<Planned> {
        self.planned.as_deref().copied()
    }

    /// Sets the step of the move, or calls it off; returns the step before.
    pub(super) fn plan(&mut self, step: impl Into<Option<Planned>>) -> Option<Planned> {
        let before = std::mem::replace(&mut self.planned, step.into().map(Box::new));
        before.map(|before| *before)
    }

    /// Whether the move has begun.
    pub(super) fn is_moving(&self) -> bool {
        !matches!(self.planned(), None | Some(Planned::Scheduled { .. }))
    }

    /// Whether our close frame waits for the end of the client's message.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.planned(), Some(Planned::Leaving { .. }))
    }

    /// The filter of frames, while it is needed.
    pub(super) fn filter(&mut self) -> Option<&mut Filter> {
        match self.state {
            State::Off if !self.filter.outlives_reattachment() => None,
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
        assert!(size_of::<Reattaching>() <= 104);
    }
}

//! Bounds of the time that a leg may stay in a state.

use std::time::Duration;

use tokio::time::Instant;

use crate::instant::saturating_add;

use super::state::{Given, LegState};

/// Bound of the time that a leg stays as it is, named after the reason of its wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// No bound here: the tunnel's other timers apply.
    None,
    /// The other leg has ended, or this one takes no more bytes: it may go on as long as it sends.
    HalfClose,
    /// The leg has the other endpoint's close frame and owes its own (RFC 6455 §5.5.1).
    Handshake,
    /// The leg has closed or ended and the other one has closed: the connections should end now.
    BothClosed,
    /// Its close frame or orderly end waits for the bytes before it.
    Queue,
    /// Its close frame or orderly end was handed over, and the endpoint has yet to answer it.
    Answer,
}

/// Timeouts of an end, as configured.
#[derive(Clone, Copy, Debug)]
pub(in crate::tunnel) struct Bounds {
    pub(in crate::tunnel) close: Duration,
    pub(in crate::tunnel) handshake: Duration,
    pub(in crate::tunnel) half_close: Option<Duration>,
    pub(in crate::tunnel) write: Option<Duration>,
    /// Time for a leg that has much to read or take first: the write timeout, or its default.
    pub(in crate::tunnel) burdened: Duration,
}

/// Facts about a leg that the bounds depend on.
#[derive(Clone, Copy, Debug)]
pub(in crate::tunnel) struct Facts {
    /// When bytes last came from it and were passed on.
    pub(in crate::tunnel) last_received: Instant,
    /// When it last took bytes.
    pub(in crate::tunnel) last_sent: Instant,
    /// Since when it has taken none of the bytes that wait for it.
    pub(in crate::tunnel) stalled_since: Option<Instant>,
    /// Whether much went to it since anything last came from it, so that its answer may be late.
    pub(in crate::tunnel) is_burdened: bool,
    /// Whether the leg is not read: because of a limit, or of bytes that the other leg has not
    /// taken.
    pub(in crate::tunnel) is_unread: bool,
    /// When that last ceased to be so, as far as it matters to an end.
    pub(in crate::tunnel) readable_since: Option<Instant>,
}

impl Bounds {
    /// When the bound is over, if it ever is. `until` is when the proxy cuts the tunnel off in any
    /// case, so that bytes which still move may take as long.
    pub(super) fn deadline(
        &self,
        bound: Bound,
        legs: (LegState, LegState),
        facts: &Facts,
        until: Option<Instant>,
    ) -> Option<Instant> {
        let (this, other) = legs;
        let given_at = this.given.at()?;
        let readable_at = facts.readable_since.map_or(given_at, |at| at.max(given_at));
        match bound {
            Bound::None => None,
            // A leg that is not read cannot show that it lives.
            Bound::HalfClose | Bound::Handshake | Bound::Answer if facts.is_unread => None,
            Bound::HalfClose => {
                let broke = matches!(this.given, Given::Gone(_)).then_some(self.close);
                Some(saturating_add(
                    readable_at.max(facts.last_received),
                    self.half_close.or(broke)?,
                ))
            }
            Bound::Handshake => {
                let bound = self.with_burden(self.handshake, facts);
                Some(saturating_add(readable_at, bound))
            }
            Bound::BothClosed => {
                let both = given_at.max(other.given.at().unwrap_or(given_at));
                Some(saturating_add(both, self.close))
            }
            Bound::Answer => {
                // It must end its frame before it can answer; the other leg's queue bounds that.
                let since = match other.given {
                    Given::CloseQueued(_) => readable_at.max(facts.last_received),
                    _ => readable_at,
                };
                let deadline = saturating_add(since, self.with_burden(self.close, facts));
                Some(until.map_or(deadline, |until| until.min(deadline)))
            }
            Bound::Queue => Some(self.queue_deadline(given_at, facts, until)),
        }
    }

    /// The time for an answer, which is longer where much is to be read before.
    fn with_burden(&self, bound: Duration, facts: &Facts) -> Duration {
        match facts.is_burdened {
            true => bound.max(self.burdened),
            false => bound,
        }
    }

    fn queue_deadline(&self, queued: Instant, facts: &Facts, until: Option<Instant>) -> Instant {
        let stalled = facts.stalled_since;
        // Also without a write timeout: what is at its end waits for no stall for ever.
        let bound = self.burdened;
        let Some(until) = until else {
            // A stall counts from its beginning, also where the decision came in the midst of it.
            let since = stalled.filter(|_| self.write.is_some());
            return saturating_add(since.map_or(queued, |since| since.min(queued)), bound);
        };
        // Every byte that the sink takes restarts the stall.
        let since = queued.max(facts.last_sent);
        let since = stalled.map_or(since, |stalled| since.max(stalled));
        saturating_add(since, bound).min(until)
    }
}

impl Given {
    /// The moment since which the leg is in this state.
    pub(super) const fn at(self) -> Option<Instant> {
        match self {
            Self::Open => None,
            Self::Relayed(at)
            | Self::CloseQueued(at)
            | Self::CloseWritten(at)
            | Self::ShutQueued(at)
            | Self::Shut(at)
            | Self::Gone(at) => Some(at),
        }
    }
}

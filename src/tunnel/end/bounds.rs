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
    /// Time for an answer to a close frame from a leg that has much to read first.
    pub(in crate::tunnel) burdened: Duration,
}

/// Facts about a leg that the bounds depend on.
#[derive(Clone, Copy, Debug)]
pub(in crate::tunnel) struct Facts {
    /// When bytes last came from it and were forwarded.
    pub(in crate::tunnel) last_received: Instant,
    /// When bytes last went to it.
    pub(in crate::tunnel) last_sent: Instant,
    /// Since when it has taken none of the bytes that wait for it.
    pub(in crate::tunnel) stalled_since: Option<Instant>,
    /// Whether much went to it since anything last came from it, so that its answer may be late.
    pub(in crate::tunnel) is_burdened: bool,
    /// Whether the leg is not read: because of a limit, or of bytes that the other leg has not
    /// taken.
    pub(in crate::tunnel) is_unread: bool,
}

/// Whether a frame that still moves may be waited for without another bound, because the drain
/// that closes the tunnel sets one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    WhileItMoves,
    Bounded,
}

impl Bounds {
    /// The deadline of a bound, if it has one.
    pub(super) fn deadline(
        &self,
        bound: Bound,
        legs: (LegState, LegState),
        facts: &Facts,
        patience: Patience,
    ) -> Option<Instant> {
        let (this, other) = legs;
        let given_at = this.given.at()?;
        match bound {
            Bound::None => None,
            // A leg that is not read cannot show that it lives.
            Bound::HalfClose | Bound::Handshake | Bound::Answer if facts.is_unread => None,
            Bound::HalfClose => {
                let broke = matches!(this.given, Given::Gone(_)).then_some(self.close);
                Some(saturating_add(
                    given_at.max(facts.last_received),
                    self.half_close.or(broke)?,
                ))
            }
            Bound::Handshake if facts.is_burdened => {
                Some(saturating_add(given_at, self.handshake.max(self.burdened)))
            }
            Bound::Handshake => Some(saturating_add(given_at, self.handshake)),
            Bound::BothClosed => {
                let both = given_at.max(other.given.at().unwrap_or(given_at));
                Some(saturating_add(both, self.close))
            }
            // The leg must end its frame before it can answer; the other leg's queue bounds that.
            Bound::Answer if matches!(other.given, Given::CloseQueued(_)) => Some(saturating_add(
                given_at.max(facts.last_received),
                self.close,
            )),
            Bound::Answer => Some(saturating_add(given_at, self.close)),
            Bound::Queue => Some(self.queue_deadline(given_at, facts, patience)),
        }
    }

    fn queue_deadline(&self, queued: Instant, facts: &Facts, patience: Patience) -> Instant {
        let since = match patience {
            Patience::WhileItMoves => queued.max(facts.last_sent),
            Patience::Bounded => queued,
        };
        let Some(write) = self.write else {
            return saturating_add(since, self.close);
        };
        let stalled = facts.stalled_since.unwrap_or(since);
        saturating_add(since.min(stalled), write)
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

//! End of both legs together: causes, orders, and the outcome.

use std::io;

use tokio::time::Instant;

use crate::{
    error::Side,
    tunnel::{
        pair::{LegId, Pair},
        report::{Timer, TunnelEnd},
    },
};

use super::{
    bounds::{Bound, Bounds, Facts},
    state::{Ask, Given, LegEvent, LegState, Reach},
    step::{Phase, Step, step},
};

/// State of a tunnel's end, from its first event on.
#[derive(Debug, Default)]
pub(in crate::tunnel) struct End {
    legs: Pair<LegState>,
    /// The first event as the reason of the end, unless the proxy decides another, and the side
    /// that closed, ended or broke first, which began the end in either case.
    cause: Option<(TunnelEnd, Side)>,
    /// Why the proxy ended the tunnel, once it has.
    decision: Option<TunnelEnd>,
    /// The moment at which the issuer of the order cuts the tunnel off, if it has a deadline.
    until: Option<Instant>,
    /// How connections broke.
    failures: Pair<Option<io::ErrorKind>>,
    unanswered: Option<LegId>,
}

/// Order to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tunnel) enum Order {
    /// End the direction to this leg in order, after the bytes on their way.
    Shut(LegId),
    /// Drop this leg's connection at once.
    Abort(LegId),
    /// End the tunnel for this reason, by [`End::decide`] and [`End::ask`].
    Decide(TunnelEnd),
    /// End the tunnel for this reason, because a leg stays silent after the other's end.
    GiveUp { silent: LegId, end: TunnelEnd },
}

impl End {
    /// Applies an event on a leg.
    pub(in crate::tunnel) fn on_event(&mut self, leg: LegId, event: LegEvent, now: Instant) {
        self.legs[leg] = self.legs[leg].after(event, now);
        let side = Side::from(leg);
        let end = match event {
            LegEvent::CloseRead => {
                self.correct_cause(side);
                TunnelEnd::Closed
            }
            LegEvent::EndRead => TunnelEnd::ClosedWithoutFrame(side),
            LegEvent::TruncationRead => TunnelEnd::TruncatedFrame(side),
            LegEvent::ReadFailed
            | LegEvent::WriteFailed
            | LegEvent::CloseHanded
            | LegEvent::WasShut => return,
        };
        self.cause.get_or_insert((end, side));
    }

    /// Applies the failure of a connection.
    pub(in crate::tunnel) fn on_failure(
        &mut self,
        leg: LegId,
        event: LegEvent,
        kind: io::ErrorKind,
        now: Instant,
    ) {
        self.on_event(leg, event, now);
        self.failures[leg].get_or_insert(kind);
        let side = Side::from(leg);
        self.cause
            .get_or_insert((TunnelEnd::Broken(side, kind), side));
    }

    /// Corrects the cause: a leg that could not be written to had closed before, which is read only
    /// now.
    fn correct_cause(&mut self, side: Side) {
        if let Some((end @ TunnelEnd::Broken(..), initiator)) = &mut self.cause {
            if *initiator == side {
                *end = TunnelEnd::Closed;
            }
        }
    }

    /// Has the proxy end the tunnel; false if it does so already, for an earlier reason. Each leg
    /// must then be [asked](Self::ask) to end. Bytes that still move have time `until` then, if
    /// that is given.
    pub(in crate::tunnel) fn decide(
        &mut self,
        end: &TunnelEnd,
        initiator: Side,
        until: Option<Instant>,
    ) -> bool {
        if self.decision.is_some() {
            return false;
        }
        self.cause.get_or_insert_with(|| (end.clone(), initiator));
        self.decision = Some(end.clone());
        self.until = until;
        true
    }

    /// Ends a leg because the proxy decided so, and returns the last that is given to it.
    pub(in crate::tunnel) fn ask(
        &mut self,
        leg: LegId,
        ask: Ask,
        reach: Reach,
        now: Instant,
    ) -> Given {
        self.legs[leg] = self.legs[leg].asked(ask, reach, now);
        self.legs[leg].given
    }

    /// Returns the next order at this moment, if any.
    pub(in crate::tunnel) fn next(
        &mut self,
        bounds: &Bounds,
        facts: impl Fn(LegId) -> Facts,
        now: Instant,
    ) -> Option<Order> {
        LegId::BOTH
            .into_iter()
            .find_map(|leg| match self.step(leg) {
                Step::Over => None,
                Step::Shut => Some(self.shut(leg, now)),
                Step::Lost => Some(Order::Decide(self.loss(leg))),
                Step::Stay(bound) => {
                    let deadline = self.bound_deadline(leg, bound, bounds, &facts);
                    deadline
                        .is_some_and(|deadline| deadline <= now)
                        .then(|| self.expire(leg, bound, now))
                }
            })
    }

    /// The moment at which [`next`](Self::next) must be called again, if nothing happens before.
    pub(in crate::tunnel) fn deadline(
        &self,
        bounds: &Bounds,
        facts: impl Fn(LegId) -> Facts,
    ) -> Option<Instant> {
        let deadlines = LegId::BOTH
            .into_iter()
            .filter_map(|leg| match self.step(leg) {
                Step::Stay(bound) => self.bound_deadline(leg, bound, bounds, &facts),
                Step::Over | Step::Shut | Step::Lost => None,
            });
        deadlines.min()
    }

    /// Whether nothing more happens on either leg.
    pub(in crate::tunnel) fn is_over(&self) -> bool {
        LegId::BOTH
            .into_iter()
            .all(|leg| self.step(leg) == Step::Over)
    }

    /// Whether a leg has closed, ended or broken, or the proxy ends the tunnel.
    pub(in crate::tunnel) const fn has_begun(&self) -> bool {
        self.cause.is_some()
    }

    /// Whether the proxy ends the tunnel.
    pub(in crate::tunnel) const fn is_decided(&self) -> bool {
        self.decision.is_some()
    }

    /// Why the tunnel ended, and the side that began the end.
    pub(in crate::tunnel) fn outcome(&self) -> (TunnelEnd, Side) {
        let (cause, initiator) = match &self.cause {
            Some((end, initiator)) => (end, *initiator),
            None => (&TunnelEnd::Dropped, Side::Proxy),
        };
        (self.decision.as_ref().unwrap_or(cause).clone(), initiator)
    }

    /// The first leg that was cut off because it did not take or answer our close frame.
    pub(in crate::tunnel) const fn unanswered(&self) -> Option<LegId> {
        self.unanswered
    }

    fn step(&self, leg: LegId) -> Step {
        let phase = match self.decision {
            Some(_) => Phase::Ours,
            None => Phase::Theirs,
        };
        step(leg, self.legs[leg], self.legs[leg.other()], phase)
    }

    fn bound_deadline(
        &self,
        leg: LegId,
        bound: Bound,
        bounds: &Bounds,
        facts: impl Fn(LegId) -> Facts,
    ) -> Option<Instant> {
        if bound == Bound::None {
            return None;
        }
        let legs = (self.legs[leg], self.legs[leg.other()]);
        bounds.deadline(bound, legs, &facts(leg), self.until)
    }

    fn expire(&mut self, leg: LegId, bound: Bound, now: Instant) -> Order {
        match bound {
            Bound::None | Bound::BothClosed => self.shut(leg, now),
            Bound::Queue | Bound::Answer => {
                self.unanswered.get_or_insert(leg);
                self.legs[leg].given = Given::Gone(now);
                Order::Abort(leg)
            }
            Bound::Handshake => {
                Order::Decide(TunnelEnd::Timeout(Timer::CloseHandshake, leg.into()))
            }
            Bound::HalfClose => self.give_up(leg),
        }
    }

    fn shut(&mut self, leg: LegId, now: Instant) -> Order {
        self.legs[leg].given = Given::ShutQueued(now);
        Order::Shut(leg)
    }

    /// Returns the reason of the end for the loss of this leg.
    fn loss(&self, leg: LegId) -> TunnelEnd {
        match self.failures[leg] {
            Some(kind) => TunnelEnd::Broken(leg.into(), kind),
            None => TunnelEnd::ClosedWithoutFrame(leg.into()),
        }
    }

    /// Ends the tunnel after the half-close timeout.
    fn give_up(&self, silent: LegId) -> Order {
        if matches!(self.legs[silent].given, Given::Gone(_)) {
            return Order::Decide(self.loss(silent));
        }
        let end = match &self.cause {
            Some((TunnelEnd::ClosedWithoutFrame(ended) | TunnelEnd::TruncatedFrame(ended), _))
                if *ended == Side::Client =>
            {
                TunnelEnd::Timeout(Timer::HalfClose, silent.into())
            }
            Some((end, _)) => end.clone(),
            None => TunnelEnd::Timeout(Timer::HalfClose, silent.into()),
        };
        Order::GiveUp { silent, end }
    }
}

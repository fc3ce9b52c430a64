//! Planned moves of a tunnel to another upstream, which is found before the present one is left.
//!
//! ```text
//!           an order, at        it accepted           our close frame was
//!           its moment          the handshake         handed over
//!  Attached ──────────► Seeking ─────────────► Leaving ─────────────► Parting ──► Detached
//! ```
//!
//! While the tunnel is *seeking*, nothing changes for the endpoints, and the session makes the
//! handshake with the next upstream. (If the host decides about that one, the client's messages wait
//! from before the decision, which they could outdate.) *Leaving*, it waits for the end of the client's message. From
//! then on it is *parting*: the messages of the client are held, and those of the upstream still go to
//! the client. What follows is the same as after a loss (`reattaching`).

use std::{pin::Pin, task::Context, time::Duration};

use tokio::{io::AsyncWrite, time::Instant};

use crate::{
    frame::{CloseCode, CloseFrame, ControlFrame},
    instant::saturating_add,
    tunnel::{
        end::LegEvent,
        flow::Event,
        leg::encode_for,
        pair::LegId,
        reattach::{Loss, ReattachRefusal, Situation},
        registry::Command,
        report::TunnelEnd,
    },
};

use super::{
    parts::Search,
    reattachment::{Parting, Planned, State},
    splice::Progress,
    state::Core,
};

const CLIENT: LegId = LegId::Client;
const UPSTREAM: LegId = LegId::Upstream;

/// Time that an upstream has for its last messages and its close frame once it was given one.
const PARTING_TIMEOUT: Duration = Duration::from_secs(5);

/// Further time for the end of a message that the upstream has begun by then.
const LAST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);

impl Core {
    /// The search for another upstream that the tunnel needs at this moment.
    pub(super) fn search(&self) -> Search {
        let Some(reattaching) = &self.reattaching else {
            return Search::None;
        };
        match (&reattaching.state, reattaching.planned()) {
            (State::Detached(detached), _) => Search::AfterLoss(detached.loss),
            (State::Attached | State::Failing(_), Some(Planned::Seeking)) => Search::Move,
            (State::Attached | State::Failing(_), Some(Planned::Leaving { .. }))
            | (State::Parting(_), _) => Search::Over,
            _ => Search::None,
        }
    }

    /// Takes the order to move that counts now, or calls the move off if none does.
    pub(super) fn apply_move_order(&mut self, now: Instant) {
        let Some(order) = self.entry().move_order() else {
            return self.call_off_move();
        };
        let refusal = self.situation().broken_lasting_rule();
        let is_ending = self.end_has_begun();
        match &mut self.reattaching {
            Some(reattaching) if !is_ending && refusal.is_none() => match reattaching.state {
                State::Off => self.entry().give_up_moves(),
                State::Attached | State::Failing(_) => {
                    if !reattaching.is_moving() {
                        reattaching.plan(Planned::Scheduled { at: order.at });
                    }
                }
                // The tunnel gets another upstream anyway.
                State::Parting(_) | State::Detached(_) => {}
            },
            Some(_) => match refusal {
                Some(refusal) => self.refuse_move(refusal),
                None => self.entry().give_up_moves(),
            },
            None => self.entry().give_up_moves(),
        }
        self.on_move_deadline(now);
    }

    /// Leaves the upstream at the end of the client's message: another one has accepted the handshake.
    pub(super) fn leave_upstream(&mut self, now: Instant) {
        let is_ending = self.end_has_begun();
        let refusal = self.situation().broken_lasting_rule();
        let Some(reattaching) = &mut self.reattaching else {
            return;
        };
        if reattaching.planned() != Some(Planned::Seeking) || is_ending {
            return self.call_off_move();
        }
        if let Some(refusal) = refusal {
            return self.refuse_move(refusal);
        }
        // Seeking => Leaving.
        let until = saturating_add(now, reattaching.filter.settings().time());
        reattaching.plan(Planned::Leaving { until });
        let close = ControlFrame::close(CloseCode::GOING_AWAY, "moved to another upstream");
        self.flows[CLIENT].leave_sink(encode_for(UPSTREAM, &close));
    }

    /// Keeps the upstream, or ends the tunnel if that was ordered for this case.
    pub(super) fn refuse_move(&mut self, refusal: ReattachRefusal) {
        self.call_off_move();
        let order = self.entry().move_order();
        if let Some(reattaching) = &mut self.reattaching {
            if order.is_some_and(|order| order.otherwise.is_some()) {
                reattaching.refusal = Some(refusal);
            }
        }
        self.entry().give_up_moves();
    }

    /// Stays with the upstream, unless it was given our close frame.
    pub(super) fn call_off_move(&mut self) {
        if self.flows[CLIENT].has_left_sink() {
            return;
        }
        let reattaching = self.reattaching.as_mut();
        if reattaching.is_some_and(|reattaching| reattaching.plan(None).is_some()) {
            self.flows[CLIENT].stay_with_sink();
        }
    }

    /// Gives up a move because the tunnel ends. An upstream that was given our close frame gets nothing
    /// more.
    pub(super) fn end_move(&mut self) {
        self.call_off_move();
        self.flows[CLIENT].seal_left_sink();
        if let Some(reattaching) = &mut self.reattaching {
            reattaching.plan(None);
        }
    }

    /// Notes that the upstream has our close frame, after a whole message.
    pub(super) fn begin_parting(&mut self, now: Instant) {
        self.legs[UPSTREAM].end_pings();
        let Some(reattaching) = &mut self.reattaching else {
            return;
        };
        // Leaving => Parting.
        reattaching.plan(None);
        reattaching.filter.leave();
        reattaching.state = State::Parting(Box::new(Parting {
            since: now,
            until: saturating_add(now, PARTING_TIMEOUT),
            needs_flush: self.legs[UPSTREAM].transport.buffers_writes(),
        }));
        self.flows[CLIENT].detach_sink(reattaching.filter.settings().most_held());
    }

    /// Takes an event of a tunnel that is parting; returns false if it is left to the end machine.
    pub(super) fn absorb_while_parting(
        &mut self,
        source: LegId,
        event: Event,
        now: Instant,
    ) -> bool {
        match (source, event) {
            (UPSTREAM, Event::SourceEnded | Event::SourceFailed(_)) => self.part(now),
            (UPSTREAM, Event::CloseWithheld(_)) => {
                // Refused: the close frame waits to be read again, and now passes.
                self.part(now);
                true
            }
            (UPSTREAM, Event::SourceTruncated) => {
                self.end_parting(ReattachRefusal::UpstreamMessageCut, now);
                false
            }
            // The next upstream gets the close frame, and the client's messages before it.
            (CLIENT, Event::SourceClosed) if self.flows[UPSTREAM].is_between_messages() => {
                self.part(now)
            }
            (
                CLIENT,
                Event::SourceClosed
                | Event::SourceEnded
                | Event::SourceTruncated
                | Event::SourceFailed(_),
            )
            | (UPSTREAM, Event::SinkFailed(_)) => {
                self.stop_reattaching(now);
                false
            }
            _ => false,
        }
    }

    /// Detaches the upstream that was left; returns false if the tunnel ends instead.
    fn part(&mut self, now: Instant) -> bool {
        let situation = Situation {
            // Our close frame followed a whole one.
            cuts_client_message: false,
            ..self.situation()
        };
        match situation.broken_rule() {
            None => {
                self.drop_upstream(Loss::Moved, now);
                true
            }
            Some(refusal) => {
                self.end_parting(refusal, now);
                false
            }
        }
    }

    /// Ends a tunnel that can neither go on with its upstream nor get another one.
    pub(super) fn end_parting(&mut self, refusal: ReattachRefusal, now: Instant) {
        let frame = CloseFrame::new(CloseCode::SERVICE_RESTART, "upstream lost");
        self.close_instead(refusal, frame, now);
    }

    /// Ends a tunnel in place of its move.
    pub(super) fn close_instead(
        &mut self,
        refusal: ReattachRefusal,
        frame: CloseFrame,
        now: Instant,
    ) {
        if let Some(reattaching) = &mut self.reattaching {
            reattaching.refusal = Some(refusal);
        }
        let close = Command::Close {
            frame,
            end: TunnelEnd::Drained,
            at: None,
            until: None,
        };
        self.end_by_command(close, now);
    }

    /// Lets the tunnel end while it is parting: the upstream has a close frame, as if the client's.
    pub(super) fn return_to_left_upstream(&mut self, now: Instant) {
        self.flows[CLIENT].return_to_left_sink();
        let end = &mut self.ending_mut().end;
        end.on_event(UPSTREAM, LegEvent::CloseHanded, now);
    }

    /// The moment until which a move waits for an endpoint. The write timeout applies to an upstream
    /// that does not take our close frame.
    pub(super) fn move_deadline(&self) -> Option<Instant> {
        let reattaching = self.reattaching.as_ref()?;
        if self.flows[CLIENT].has_left_sink() {
            return None;
        }
        match (&reattaching.state, reattaching.planned()) {
            (State::Parting(parting), _) => Some(parting.until),
            (_, Some(Planned::Scheduled { at: until })) => Some(until),
            (_, Some(Planned::Pausing { until } | Planned::Leaving { until })) => Some(until),
            _ => None,
        }
    }

    /// Acts on the deadline of a move.
    pub(super) fn on_move_deadline(&mut self, now: Instant) {
        if self.move_deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        let is_between_messages = self.flows[UPSTREAM].is_between_messages();
        let Some(reattaching) = &mut self.reattaching else {
            return;
        };
        let is_moving = reattaching.is_moving();
        match &mut reattaching.state {
            State::Parting(_) if is_between_messages => {
                self.part(now);
            }
            State::Parting(parting) if !parting.is_late() => {
                parting.until = saturating_add(now, LAST_MESSAGE_TIMEOUT);
            }
            State::Parting(_) => self.end_parting(ReattachRefusal::UpstreamMessageCut, now),
            _ if is_moving => self.refuse_move(ReattachRefusal::ClientMessageCut),
            _ => self.begin_move(now),
        }
    }

    /// Begins to seek another upstream, once the client is paused if the host decides about it.
    fn begin_move(&mut self, now: Instant) {
        let Some(reattaching) = &mut self.reattaching else {
            return;
        };
        let settings = reattaching.filter.settings();
        // Scheduled => Seeking, or Pausing.
        let step = match settings.hook() {
            None => Planned::Seeking,
            Some(_) => {
                self.flows[CLIENT].pause_after_message();
                let until = saturating_add(now, settings.time());
                Planned::Pausing { until }
            }
        };
        reattaching.plan(step);
    }

    /// Begins to seek another upstream, if the client is paused for that.
    pub(super) fn step_pausing(&mut self) {
        let is_paused = self.flows[CLIENT].is_paused();
        let Some(reattaching) = &mut self.reattaching else {
            return;
        };
        if let (Some(Planned::Pausing { .. }), true) = (reattaching.planned(), is_paused) {
            reattaching.plan(Planned::Seeking);
        }
    }

    /// Flushes our close frame, and leaves the upstream as soon as its last message is whole.
    pub(super) fn step_parting(&mut self, task: &mut Context<'_>, now: Instant) -> Progress {
        let is_between_messages = self.flows[UPSTREAM].is_between_messages();
        let Some(reattaching) = &mut self.reattaching else {
            return Progress::None;
        };
        let State::Parting(parting) = &mut reattaching.state else {
            return Progress::None;
        };
        if parting.needs_flush {
            // An error shows at the next read.
            let flushed = Pin::new(&mut self.legs[UPSTREAM].transport).poll_flush(task);
            parting.needs_flush = flushed.is_pending();
        }
        if !parting.is_late() || !is_between_messages {
            return Progress::None;
        }
        self.part(now);
        Progress::Made
    }
}

impl Parting {
    /// Whether the upstream has had its time, and ends the message that it has begun.
    fn is_late(&self) -> bool {
        self.until > saturating_add(self.since, PARTING_TIMEOUT)
    }
}

#[cfg(test)]
mod tests;

//! Loss of the upstream without the end of the tunnel. `attaching` has the next upstream.
//!
//! ```text
//!             a loss that the settings cover
//!  Attached ────────────────────────────────► Detached ── refused, closed ──► Off
//!     ▲  │        and no rule forbids            │
//!     │  └── writing failed ──► Failing ─────────┤
//!     └──────────────────────────────────────────┘
//!                  the next upstream
//! ```

use std::{
    io,
    pin::Pin,
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use tokio::{io::AsyncWrite, time::Instant};

use crate::{
    error::Side,
    frame::{CloseCode, ControlFrame},
    net::transport::Transport,
    task::catch_panic,
    tunnel::{
        context::Clock,
        end::LegEvent,
        flow::Event,
        leg::encode_for,
        pair::LegId,
        reattach::{Loss, ReattachRefusal, Situation, UpstreamChange},
        report::{Timer, TunnelEnd},
    },
};

use super::{
    reattachment::{Detached, State},
    splice::Progress,
    state::Core,
};

const CLIENT: LegId = LegId::Client;
const UPSTREAM: LegId = LegId::Upstream;

impl Core {
    pub(super) fn upstream_changes(&self) -> Vec<UpstreamChange> {
        let reattaching = self.reattaching.as_ref();
        let changes = reattaching.into_iter().flat_map(|it| it.changes());
        changes.cloned().collect()
    }

    pub(super) fn last_upstream_change(&self) -> Option<&UpstreamChange> {
        self.reattaching.as_ref()?.changes().next_back()
    }

    /// The time since the tunnel got its latest upstream.
    pub(super) fn time_with_upstream(&self, now: Instant) -> Duration {
        let before = self
            .last_upstream_change()
            .map_or(Duration::ZERO, |change| change.lost_after + change.gap);
        now.saturating_duration_since(self.opened)
            .saturating_sub(before)
    }

    pub(super) fn reattach_refusal(&self) -> Option<ReattachRefusal> {
        self.reattaching.as_ref()?.refusal
    }

    /// Takes an event that does not end the tunnel; returns false if it is left to the end machine.
    pub(super) fn absorb(&mut self, source: LegId, event: Event, now: Instant) -> bool {
        let Some(reattaching) = &mut self.reattaching else {
            return false;
        };
        match (&reattaching.state, source, event) {
            (State::Off, ..) => false,
            (State::Parting(_), ..) => self.absorb_while_parting(source, event, now),
            // The next upstream gets the client's close frame, and its end after it.
            (
                State::Detached(_),
                CLIENT,
                Event::SourceEnded | Event::SourceTruncated | Event::SourceFailed(_),
            ) if self.flows[CLIENT].track().has_closed() => true,
            // Detached => Off: the client ends or breaks.
            (State::Detached(_), _, event) => self.end_without_upstream(source, event, now),
            (State::Attached, CLIENT, Event::CloseHanded) if reattaching.is_leaving() => {
                self.begin_parting(now);
                true
            }
            (_, CLIENT, Event::SourceClosed | Event::SourceEnded) => {
                self.call_off_move();
                false
            }
            // The client has its close frame, behind which nothing of another upstream may come.
            (_, UPSTREAM, Event::SourceClosed) => {
                self.end_move();
                false
            }
            // Attached => Failing.
            (_, CLIENT, Event::SinkFailed(kind)) => {
                reattaching.state = State::Failing(kind);
                true
            }
            // Attached, Failing => Detached, or Off.
            (_, UPSTREAM, Event::SourceEnded) => self.detach(Loss::ClosedWithoutFrame, now),
            (_, UPSTREAM, Event::SourceFailed(kind)) => self.detach(Loss::Broken(kind), now),
            (_, UPSTREAM, Event::SourceTruncated) => {
                if !self.end_has_begun() {
                    self.refuse_reattachment(ReattachRefusal::UpstreamMessageCut, now);
                }
                false
            }
            (_, UPSTREAM, Event::CloseWithheld(code)) => {
                // Refused: the close frame waits to be read again, and now passes.
                self.detach(Loss::Closed(code), now);
                true
            }
            // Attached => Off.
            (_, UPSTREAM, Event::Unfit(refusal)) => {
                self.end_unfit(refusal, now);
                true
            }
            _ => false,
        }
    }

    /// Detaches the upstream in place of ending the tunnel for a timeout.
    pub(super) fn detach_instead(&mut self, end: &TunnelEnd, now: Instant) -> bool {
        let loss = match end {
            TunnelEnd::Timeout(Timer::Pong, Side::Upstream) => Loss::PongTimeout,
            TunnelEnd::Timeout(Timer::Write, Side::Upstream) => Loss::WriteTimeout,
            _ => return false,
        };
        let is_attached = self
            .reattaching
            .as_ref()
            .is_some_and(|reattaching| matches!(reattaching.state, State::Attached));
        is_attached && self.detach(loss, now)
    }

    /// Does what is due in a poll apart from events: a pong that the proxy owes the client, and the
    /// end of an upstream that could not be written to.
    #[inline(never)]
    pub(super) fn step_reattaching(
        &mut self,
        is_upstream_quiet: bool,
        task: &mut Context<'_>,
        clock: &mut Clock,
    ) -> Progress {
        self.show_messages();
        let is_opaque = self.flows[CLIENT].track().is_opaque();
        if let Some(kind) = self.failure_to_detach_for(is_upstream_quiet) {
            let now = clock.now();
            self.detach(Loss::Broken(kind), now);
            self.apply_orders(now);
            return Progress::Made;
        }
        let Some(reattaching) = &mut self.reattaching else {
            return Progress::None;
        };
        match reattaching.state {
            State::Detached(_) if is_opaque => {
                self.end_reattachment(ReattachRefusal::Opaque, None, clock.now());
                return Progress::Made;
            }
            State::Attached if reattaching.is_moving() => self.step_pausing(),
            State::Parting(_) => {
                let parted = self.step_parting(task, clock.now());
                let answered = self.answer_client_ping();
                return match parted {
                    Progress::Made => parted,
                    Progress::None => answered,
                };
            }
            _ => {}
        }
        self.answer_client_ping()
    }

    /// The failure of an upstream that could not be written to, once all that it sent before was read.
    /// A client that is slow to take that has the write timeout.
    fn failure_to_detach_for(&self, is_upstream_quiet: bool) -> Option<io::ErrorKind> {
        let State::Failing(kind) = self.reattaching.as_ref()?.state else {
            return None;
        };
        let is_read = is_upstream_quiet && !self.flows[UPSTREAM].is_unread();
        (is_read || self.end_has_begun()).then_some(kind)
    }

    /// Shows the host the client's messages that the upstream has taken.
    fn show_messages(&mut self) {
        let Some(reattaching) = &mut self.reattaching else {
            return;
        };
        let messages = reattaching.filter.take_messages();
        let Some(tap) = reattaching.filter.settings().message_tap() else {
            return;
        };
        let info = self.guard.entry().info();
        for message in &messages {
            if catch_panic(|| tap.show(info, message)).is_err() {
                tracing::error!("the function for the messages of a client panicked");
            }
        }
    }

    fn answer_client_ping(&mut self) -> Progress {
        let Some(reattaching) = &mut self.reattaching else {
            return Progress::None;
        };
        let to_client = &mut self.flows[UPSTREAM];
        if !reattaching.filter.owes_pong() || !to_client.takes_own() {
            return Progress::None;
        }
        if let Some(pong) = reattaching.filter.take_owed_pong() {
            to_client.push_own(&encode_for(CLIENT, &pong));
        }
        Progress::Made
    }

    /// Detaches the upstream, if the settings cover the loss and no rule forbids it.
    fn detach(&mut self, loss: Loss, now: Instant) -> bool {
        let (is_ending, situation) = (self.end_has_begun(), self.situation());
        let Some(reattaching) = &mut self.reattaching else {
            return false;
        };
        if is_ending || !reattaching.filter.settings().covers(loss) {
            self.stop_reattaching(now);
            return false;
        }
        if let Some(refusal) = reattaching.refusal_after_loss(&situation, now) {
            self.refuse_reattachment(refusal, now);
            return false;
        }
        self.drop_upstream(loss, now);
        true
    }

    pub(super) fn end_has_begun(&self) -> bool {
        let ending = self.ending.as_ref();
        ending.is_some_and(|ending| ending.end.has_begun())
            || self.flows[CLIENT].track().has_closed()
    }

    pub(super) fn situation(&self) -> Situation {
        let Some(reattaching) = &self.reattaching else {
            return Situation::default();
        };
        let (to_upstream, to_client) = (&self.flows[CLIENT], &self.flows[UPSTREAM]);
        let tracks = [to_upstream.track(), to_client.track()];
        let seen = tracks.map(|track| track.reserved_bits().bits());
        Situation {
            is_opaque: tracks.iter().any(|track| track.is_opaque()),
            cuts_upstream_message: !to_client.is_between_messages(),
            cuts_client_message: !to_upstream.is_delivered_between_messages(),
            has_lost_replay: reattaching.filter.has_lost_replay(),
            has_reserved_bits: (seen[0] | seen[1]) & !reattaching.reserved_bits.bits() != 0,
            agreement: reattaching.agreement,
        }
    }

    /// Drops the upstream's connection, and holds the client's messages for the next one.
    pub(super) fn drop_upstream(&mut self, loss: Loss, now: Instant) {
        let close = match loss {
            Loss::Closed(_) => self.flows[UPSTREAM].take_withheld_close(),
            _ => Bytes::new(),
        };
        let stale_pongs = self.legs[CLIENT].take_unanswered_pings();
        let _ = self.legs[UPSTREAM].take_unanswered_pings();
        self.legs[UPSTREAM].end_pings();
        leave(self.legs[UPSTREAM].detach(), loss);
        self.flows[UPSTREAM].detach_source();
        let Some(reattaching) = &mut self.reattaching else {
            return;
        };
        let at = match &reattaching.state {
            // The messages are held already.
            State::Parting(parting) => parting.since,
            _ => {
                let limit = reattaching.filter.settings().most_held();
                self.flows[CLIENT].detach_sink(limit);
                now
            }
        };
        reattaching.filter.detach(stale_pongs);
        reattaching.plan(None);
        reattaching.state = State::Detached(Box::new(Detached { loss, at, close }));
    }

    /// Lets the tunnel end as it would without reattachment.
    pub(super) fn refuse_reattachment(&mut self, refusal: ReattachRefusal, now: Instant) {
        if let Some(reattaching) = &mut self.reattaching {
            reattaching.refusal = Some(refusal);
        }
        self.stop_reattaching(now);
    }

    /// Notes that the tunnel gets no other upstream because it ends.
    pub(super) fn stop_reattaching(&mut self, now: Instant) {
        let Some(reattaching) = &mut self.reattaching else {
            return;
        };
        let state = std::mem::replace(&mut reattaching.state, State::Off);
        reattaching.filter.end();
        self.end_move();
        match state {
            State::Failing(kind) => {
                self.flows[CLIENT].abandon_sink();
                let end = &mut self.ending_mut().end;
                end.on_failure(UPSTREAM, LegEvent::WriteFailed, kind, now);
            }
            State::Parting(_) => self.return_to_left_upstream(now),
            _ => {}
        }
    }
}

/// Leaves a lost upstream: answers its close frame, and drops the connection.
fn leave(mut transport: Transport, loss: Loss) {
    let Loss::Closed(code) = loss else {
        return match loss {
            Loss::ClosedWithoutFrame | Loss::Moved => {}
            _ => transport.abort_on_drop(),
        };
    };
    // An upstream that has closed does not depend on the answer (RFC 6455 §7.1.1).
    close_at_once(transport, code);
}

/// Closes a connection to an upstream as far as that is possible without a wait.
pub(crate) fn close_at_once(mut transport: Transport, code: CloseCode) {
    let cx = &mut Context::from_waker(Waker::noop());
    let frame = encode_for(UPSTREAM, &ControlFrame::close(code, ""));
    let _ = Pin::new(&mut transport).poll_write(cx, &frame);
    let _ = Pin::new(&mut transport).poll_flush(cx);
    let _ = Pin::new(&mut transport).poll_shutdown(cx);
}

#[cfg(test)]
mod tests;

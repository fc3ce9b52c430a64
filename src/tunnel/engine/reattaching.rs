//! Loss of the upstream without the end of the tunnel, and the next upstream.
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
    pin::Pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use tokio::{io::AsyncWrite, time::Instant};

use crate::{
    error::Side,
    frame::{CloseCode, CloseFrame, ControlFrame},
    net::transport::Transport,
    task::catch_panic,
    tunnel::{
        close::{CloseAction, unfit_action},
        context::Clock,
        end::LegEvent,
        flow::Event,
        leg::{Leg, encode_for, masking_key},
        pair::{LegId, Pair},
        reattach::{Loss, ReattachRefusal, Situation, UpstreamChange},
        report::{Timer, TunnelEnd},
    },
};

use super::{
    parts::NextUpstream,
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
        let is_upstream_read = is_upstream_quiet || self.end_has_begun();
        let Some(reattaching) = &mut self.reattaching else {
            return Progress::None;
        };
        match reattaching.state {
            State::Detached(_) if is_opaque => {
                self.end_reattachment(ReattachRefusal::Opaque, None, clock.now());
                return Progress::Made;
            }
            State::Failing(kind) if is_upstream_read => {
                let now = clock.now();
                self.detach(Loss::Broken(kind), now);
                self.apply_orders(now);
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
    fn refuse_reattachment(&mut self, refusal: ReattachRefusal, now: Instant) {
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

    /// Attaches the next upstream, or ends the tunnel if that is not possible any more.
    pub(super) fn attach(&mut self, next: NextUpstream, now: Instant) {
        let Some(reattaching) = &mut self.reattaching else {
            return;
        };
        // Detached => Attached.
        let detached = match std::mem::replace(&mut reattaching.state, State::Attached) {
            State::Detached(detached) => detached,
            other => {
                reattaching.state = other;
                return;
            }
        };
        let from = std::mem::replace(&mut reattaching.upstream, next.name);
        let change = UpstreamChange {
            from,
            to: Arc::clone(&reattaching.upstream),
            loss: detached.loss,
            lost_after: detached.at.saturating_duration_since(self.opened),
            gap: now.saturating_duration_since(detached.at),
        };
        reattaching.record(change, now);
        let received = self.flows[UPSTREAM].track().counts().messages();
        // A pong for an earlier ping follows what the client has still to take.
        let pong = reattaching.filter.take_owed_pong();
        reattaching.filter.attach(received, next.context);
        let mut frames = reattaching.filter.replay(masking_key);
        if !frames.is_empty() {
            reattaching.record_replay(now);
        }
        next.restoration
            .encode_to_upstream(&mut frames, masking_key);
        let mut read_ahead = Vec::from(next.read_ahead);
        let kept = reattaching.filter.swallow(&mut read_ahead);
        read_ahead.truncate(*kept.as_ref().unwrap_or(&0));
        self.connect(next.transport, read_ahead.into(), frames, now);
        if let Some(pong) = pong {
            self.flows[UPSTREAM].push_own(&encode_for(CLIENT, &pong));
        }
        self.flows[UPSTREAM].push_own(&next.restoration.frames_to_client());
        if let Err(refusal) = kept {
            return self.end_unfit(refusal, now);
        }
        if self.flows[CLIENT].track().has_closed() {
            // The client closed while the tunnel was parting.
            self.on_event(CLIENT, Event::SourceClosed, now);
            if self.flows[CLIENT].has_source_ended() {
                self.on_event(CLIENT, Event::SourceEnded, now);
            }
        }
    }

    /// Goes on with this connection, which gets these frames first.
    fn connect(&mut self, transport: Transport, read_ahead: Bytes, frames: Vec<u8>, now: Instant) {
        let jitter_sample = fastrand::f32();
        self.legs[UPSTREAM] = Leg::new(UPSTREAM, transport, &self.config, jitter_sample, now);
        self.flows[UPSTREAM].attach_source(read_ahead);
        self.flows[CLIENT].attach_sink(frames);
    }

    /// Ends the tunnel because the client cannot go on with the upstream that it got.
    fn end_unfit(&mut self, refusal: ReattachRefusal, now: Instant) {
        let Some(loss) = self.last_upstream_change().map(|change| change.loss) else {
            return;
        };
        self.refuse_reattachment(refusal, now);
        let actions = Pair::new(|leg| unfit_action(loss, leg.into()));
        let end = TunnelEnd::of_loss(loss);
        self.end_with(&end, Side::Upstream, None, actions, now);
        self.apply_orders(now);
    }

    /// Ends the tunnel because there is no other upstream: with this close frame to the client, or as
    /// it would have ended at the loss.
    pub(super) fn end_reattachment(
        &mut self,
        refusal: ReattachRefusal,
        frame: Option<CloseFrame>,
        now: Instant,
    ) {
        let Some(reattaching) = &mut self.reattaching else {
            return;
        };
        // Detached => Off.
        let state = std::mem::replace(&mut reattaching.state, State::Off);
        let State::Detached(detached) = state else {
            reattaching.state = state;
            return;
        };
        reattaching.filter.end();
        reattaching.refusal = Some(refusal);
        let loss = detached.loss;
        if let Some(frame) = frame {
            let actions = Pair::from([CloseAction::Close(frame), CloseAction::Abort]);
            self.end_with(
                &TunnelEnd::of_loss(loss),
                Side::Upstream,
                None,
                actions,
                now,
            );
            return self.apply_orders(now);
        }
        match loss {
            Loss::ClosedWithoutFrame => self.on_event(UPSTREAM, Event::SourceEnded, now),
            Loss::Broken(kind) => self.on_event(UPSTREAM, Event::SourceFailed(kind), now),
            Loss::PongTimeout | Loss::WriteTimeout => {
                self.end(&TunnelEnd::of_loss(loss), Side::Upstream, now);
            }
            Loss::Moved => self.end_parting(refusal, now),
            // The client gets the upstream's own close frame, and the upstream's end after it.
            Loss::Closed(_) => {
                let ended = Transport::new(tokio::io::empty());
                self.connect(ended, detached.close, Vec::new(), now);
            }
        }
        self.apply_orders(now);
    }

    /// Ends a tunnel without an upstream because of its client.
    fn end_without_upstream(&mut self, source: LegId, event: Event, now: Instant) -> bool {
        let (leg_event, end) = match (source, event) {
            (CLIENT, Event::SourceClosed) => (LegEvent::CloseRead, TunnelEnd::Closed),
            (CLIENT, Event::SourceEnded) => (
                LegEvent::EndRead,
                TunnelEnd::ClosedWithoutFrame(Side::Client),
            ),
            (CLIENT, Event::SourceTruncated) => (
                LegEvent::TruncationRead,
                TunnelEnd::TruncatedFrame(Side::Client),
            ),
            (CLIENT, Event::SourceFailed(kind)) => {
                (LegEvent::ReadFailed, TunnelEnd::Broken(Side::Client, kind))
            }
            (UPSTREAM, Event::SinkFailed(kind)) => {
                (LegEvent::WriteFailed, TunnelEnd::Broken(Side::Client, kind))
            }
            _ => return false,
        };
        self.stop_reattaching(now);
        self.ending_mut().end.on_event(CLIENT, leg_event, now);
        match event {
            Event::SourceClosed => self.answer_client_close(now),
            _ => self.end(&end, Side::Client, now),
        }
        self.apply_orders(now);
        true
    }

    /// Answers the client's close frame with its code, as its upstream would have.
    fn answer_client_close(&mut self, now: Instant) {
        let seen = self.flows[CLIENT].track().close_seen();
        let code = seen.and_then(|close| close.code);
        let frame = CloseFrame::new(code.unwrap_or(CloseCode::NO_STATUS), "");
        let actions = Pair::from([CloseAction::Close(frame), CloseAction::Abort]);
        self.end_with(&TunnelEnd::Closed, Side::Client, None, actions, now);
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

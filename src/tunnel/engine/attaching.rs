//! The next upstream of a tunnel that has lost its own, or the end where there is none.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    error::Side,
    frame::{CloseCode, CloseFrame},
    net::transport::Transport,
    tunnel::{
        close::{CloseAction, unfit_action},
        end::LegEvent,
        flow::Event,
        leg::{Leg, encode_for, masking_key},
        pair::{LegId, Pair},
        reattach::{Loss, ReattachRefusal, UpstreamChange},
        report::TunnelEnd,
    },
};

use super::{parts::NextUpstream, reattachment::State, state::Core};

const CLIENT: LegId = LegId::Client;
const UPSTREAM: LegId = LegId::Upstream;

impl Core {
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
    pub(super) fn end_unfit(&mut self, refusal: ReattachRefusal, now: Instant) {
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
    pub(super) fn end_without_upstream(
        &mut self,
        source: LegId,
        event: Event,
        now: Instant,
    ) -> bool {
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

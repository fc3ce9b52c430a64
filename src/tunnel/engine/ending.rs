//! The way to the end: who ended first, farewells, closes and aborts.

use tokio::time::Instant;

use crate::{
    error::Side,
    frame::ControlFrame,
    instant::saturating_add,
    tunnel::registry::Command,
    tunnel::report::{Timer, TunnelEnd},
    tunnel::{
        close::{Farewell, farewell},
        leg::encode_for,
        pair::LegId,
    },
};

use super::splice::{Core, Progress};

/// What is known of the end while the tunnel comes to it.
#[derive(Default)]
pub(super) struct Ending {
    /// A close that was asked for, and when it is to begin.
    pub(super) scheduled: Option<Scheduled>,
    /// Set once the proxy itself ends the tunnel: when it stops waiting for the sides.
    pub(super) closing: Option<Instant>,
    pub(super) verdict: Option<Verdict>,
    /// The side that ended first, whether in the middle of a frame, and when.
    pub(super) first_end: Option<FirstEnd>,
    /// A side that takes no more bytes because its connection broke.
    pub(super) broken: Option<(LegId, std::io::ErrorKind)>,
    /// The first side that was cut off because it did not answer our close frame.
    pub(super) unanswered: Option<LegId>,
    /// Whether somebody was told how it will have ended.
    is_told: bool,
}

pub(super) struct Scheduled {
    pub(super) at: Instant,
    pub(super) command: Command,
}

pub(super) struct Verdict {
    pub(super) end: TunnelEnd,
    pub(super) initiator: Side,
}

pub(super) struct FirstEnd {
    pub(super) side: LegId,
    pub(super) end: TunnelEnd,
    pub(super) at: Instant,
}

impl Core {
    /// A side ended in order. The other side may still speak (RFC 6455 §7.1.1 lets the server
    /// end first), so the end is passed on and the other direction goes on, for a while.
    pub(super) fn on_source_ended(&mut self, side: LegId, now: Instant) {
        if let Some((_, kind)) = self.broken().filter(|(broken, _)| *broken == side) {
            if !self.flows[side].track().has_closed() {
                return self.end(TunnelEnd::Broken(side.into(), kind), side.into(), now);
            }
            // Sent before the connection broke, and only read after it.
            self.closer.get_or_insert(side);
        }
        self.note_first_end(side, now);
        if self.closing().is_some() {
            return;
        }
        let ended_first = self.first_end().map(|first| first.side) == Some(side);
        let lost_without_a_word = side == LegId::Upstream
            && ended_first
            && self.closer.is_none()
            && self.find_closer().is_none()
            && self.flows[side].sink_at_boundary();
        if lost_without_a_word {
            let end = TunnelEnd::ClosedWithoutFrame(side.into());
            let words = self
                .config
                .worded(&end, LegId::Client, farewell(&end, Side::Client));
            self.ending_mut().verdict.get_or_insert(Verdict {
                end,
                initiator: side.into(),
            });
            if let Farewell::Close(frame) = words {
                let frame = ControlFrame::close(frame.code, &frame.reason);
                let frame = encode_for(LegId::Client, &frame);
                return self.flows[LegId::Upstream].close(frame);
            }
        }
        self.flows[side].shut_down();
    }

    pub(super) fn note_first_end(&mut self, side: LegId, now: Instant) {
        if self.first_end().is_some() {
            return;
        }
        // What is said after the first end, to our close frame perhaps, makes it no clean one.
        self.closer = self.closer.or_else(|| self.find_closer());
        let flow = &self.flows[side];
        let end = if flow.sink_at_boundary() || flow.track().is_opaque() {
            TunnelEnd::ClosedWithoutFrame(side.into())
        } else {
            TunnelEnd::TruncatedFrame(side.into())
        };
        self.ending_mut().first_end = Some(FirstEnd { side, end, at: now });
    }

    /// Ends the tunnel on the proxy's own account, with the farewells that the reason calls for.
    pub(super) fn end(&mut self, end: TunnelEnd, initiator: Side, now: Instant) {
        // The first reason has said its farewells. A leg that breaks on the way out must not take
        // the other one's close frame with it.
        if self.closing().is_some() {
            return;
        }
        let client = self
            .config
            .worded(&end, LegId::Client, farewell(&end, Side::Client));
        let upstream = self
            .config
            .worded(&end, LegId::Upstream, farewell(&end, Side::Upstream));
        self.end_with(end, initiator, client, upstream, now);
    }

    fn end_with(
        &mut self,
        end: TunnelEnd,
        initiator: Side,
        client: Farewell,
        upstream: Farewell,
        now: Instant,
    ) {
        let give_up_at = saturating_add(now, self.config.close_timeout);
        let ending = self.ending_mut();
        ending.verdict.get_or_insert(Verdict { end, initiator });
        ending.closing.get_or_insert(give_up_at);
        let farewells = [(LegId::Client, client), (LegId::Upstream, upstream)];
        // Aborts first: a leg that is gone can bring the other to no frame boundary.
        for (side, farewell) in &farewells {
            if *farewell == Farewell::Abort {
                self.abort(*side);
            }
        }
        for (side, farewell) in farewells {
            if let Farewell::Close(frame) = farewell {
                self.close(side, &ControlFrame::close(frame.code, &frame.reason));
            }
        }
    }

    pub(super) fn close(&mut self, side: LegId, frame: &ControlFrame) {
        let frame = encode_for(side, frame);
        let flow = &mut self.flows[side.other()];
        if flow.can_close() {
            flow.close(frame);
        } else if flow.track().is_opaque() {
            // No frame can be put here, but an orderly end can.
            flow.shut_down();
        } else {
            self.abort(side);
        }
    }

    /// Gives a leg up: nothing more goes to it or comes from it.
    fn abort(&mut self, side: LegId) {
        self.flows[side.other()].abandon_sink();
        self.flows[side].abandon_source();
        self.legs[side].transport.abort_on_drop();
    }

    /// Moves each leg on to its orderly end once nothing more is to be said on it.
    pub(super) fn settle(&mut self) -> Progress {
        let mut progress = Progress::None;
        for side in LegId::BOTH {
            let into = &self.flows[side.other()];
            let answered = self.flows[side].source_is_finished();
            if into.sink_is_closing() && !into.can_close() {
                self.abort(side);
                progress = Progress::Made;
            } else if into.sink_is_closed()
                && (answered || into.source_has_ended() && self.closing().is_none())
            {
                self.flows[side.other()].shut_down();
                progress = Progress::Made;
            }
        }
        progress
    }

    pub(super) fn end_by_command(&mut self, command: Command, now: Instant) {
        let (end, farewell) = match command {
            Command::Close { frame, end, .. } => (end, Farewell::Close(frame)),
            Command::Abort { end } => {
                self.ending_mut().closing = Some(now);
                (end, Farewell::Abort)
            }
        };
        self.end_with(end, Side::Proxy, farewell.clone(), farewell, now);
    }

    /// The sides did not answer our close frames in time.
    pub(super) fn give_up(&mut self) {
        for side in LegId::BOTH {
            if !self.flows[side.other()].sink_is_done() {
                self.ending_mut().unanswered.get_or_insert(side);
                self.abort(side);
            }
        }
    }

    /// Nothing more came after one direction's end. What is left is dropped as it stands.
    pub(super) fn end_linger(&mut self, now: Instant) {
        if let Some((side, kind)) = self.broken() {
            return self.end(TunnelEnd::Broken(side.into(), kind), side.into(), now);
        }
        let Some(initiator) = self.first_end().map(|first| first.side) else {
            return;
        };
        // A lost upstream stays the reason, whatever the client makes of it.
        if self.closer.is_none() && initiator == LegId::Client {
            let end = TunnelEnd::Timeout(Timer::HalfClose, Side::Upstream);
            let verdict = Verdict {
                end,
                initiator: initiator.into(),
            };
            self.ending_mut().verdict.get_or_insert(verdict);
        }
        for side in LegId::BOTH {
            self.flows[side].abandon();
        }
    }

    pub(super) fn outcome(&self) -> (TunnelEnd, Side) {
        let verdict = self
            .ending
            .as_ref()
            .and_then(|ending| ending.verdict.as_ref());
        match (verdict, self.closer, self.first_end()) {
            (Some(verdict), ..) => (verdict.end.clone(), verdict.initiator),
            (None, Some(closer), _) => (TunnelEnd::Closed, closer.into()),
            (None, None, Some(first)) => (first.end.clone(), first.side.into()),
            (None, None, None) => (TunnelEnd::Dropped, Side::Proxy),
        }
    }

    /// Whether the end is certain and that was not told yet: by a verdict, which does not change
    /// any more, or because all is over.
    pub(super) fn take_certainty(&mut self) -> bool {
        let is_certain = self.is_finished()
            || self
                .ending
                .as_ref()
                .is_some_and(|ending| ending.verdict.is_some());
        is_certain && !std::mem::replace(&mut self.ending_mut().is_told, true)
    }

    pub(super) fn first_end(&self) -> Option<&FirstEnd> {
        self.ending.as_ref()?.first_end.as_ref()
    }

    pub(super) fn closing(&self) -> Option<Instant> {
        self.ending.as_ref()?.closing
    }

    fn broken(&self) -> Option<(LegId, std::io::ErrorKind)> {
        self.ending.as_ref()?.broken
    }

    pub(super) fn ending_mut(&mut self) -> &mut Ending {
        self.ending.get_or_insert_default()
    }
}

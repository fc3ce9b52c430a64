//! Engine's side of an end: reports events to the state machine and carries out its orders.

use tokio::time::Instant;

use crate::{
    error::Side,
    frame::ControlFrame,
    tunnel::{
        close::{CloseAction, close_action},
        context::Clock,
        end::{Ask, Given, LegEvent, Order, Reach},
        flow::Event,
        leg::encode_for,
        pair::{LegId, Pair},
        registry::Command,
        report::TunnelEnd,
        track::Breach,
    },
};

use super::state::Core;

impl Core {
    pub(super) fn on_event(&mut self, source: LegId, event: Event, now: Instant) {
        if self.reattaching.is_some() && self.absorb(source, event, now) {
            return;
        }
        let sink = source.other();
        if matches!(event, Event::CloseHanded | Event::SinkShut) {
            // Kept: a side that sends something meanwhile has not read it for that reason.
            let is_burdened = self.legs[sink].is_burdened();
            self.ending_mut().signs[sink].was_burdened |= is_burdened;
        }
        if let Event::SourceClosed = event {
            self.legs[source].end_pings();
        }
        let end = &mut self.ending_mut().end;
        match event {
            Event::SourceClosed => end.on_event(source, LegEvent::CloseRead, now),
            Event::SourceEnded => end.on_event(source, LegEvent::EndRead, now),
            Event::SourceTruncated => end.on_event(source, LegEvent::TruncationRead, now),
            Event::SourceFailed(kind) => end.on_failure(source, LegEvent::ReadFailed, kind, now),
            Event::CloseHanded => end.on_event(sink, LegEvent::CloseHanded, now),
            Event::SinkShut => end.on_event(sink, LegEvent::WasShut, now),
            Event::SinkFailed(kind) => end.on_failure(sink, LegEvent::WriteFailed, kind, now),
            // Without reattachment nothing is withheld or removed.
            Event::CloseWithheld(_) | Event::Unfit(_) => {}
            Event::BoundaryLost => {
                let ask = match self.flows[source].track().is_opaque() {
                    // A direction that is not read as frames can still be ended in order.
                    true => Ask::Shut,
                    false => Ask::Abort,
                };
                self.ask(sink, ask, None, now);
            }
            Event::Breach(Breach::Limit(limit)) => {
                let side = Side::from(source);
                self.end(&TunnelEnd::Limit(limit, side), side, now);
            }
            Event::Breach(Breach::Violation(violation)) => {
                let side = Side::from(source);
                self.end(&TunnelEnd::Violation(violation, side), side, now);
            }
        }
        self.apply_orders(now);
    }

    /// Carries out the orders of the state machine at this moment.
    pub(super) fn apply_orders(&mut self, now: Instant) {
        while let Some(order) = self.next_order(now) {
            match order {
                Order::Shut(leg) => self.flows[leg.other()].shut_down(),
                Order::Abort(leg) => self.abort(leg),
                Order::Decide(end) => {
                    let initiator = match &end {
                        TunnelEnd::Timeout(_, side)
                        | TunnelEnd::Broken(side, _)
                        | TunnelEnd::ClosedWithoutFrame(side) => *side,
                        _ => Side::Proxy,
                    };
                    self.end(&end, initiator, now);
                }
                Order::GiveUp { silent, end } => {
                    let actions = Pair::new(|leg| match leg == silent {
                        true => CloseAction::Abort,
                        false => CloseAction::Shut,
                    });
                    self.end_with(&end, silent.into(), None, actions, now);
                }
            }
        }
    }

    /// Ends the tunnel because the proxy decides so, each leg by the close action of the reason.
    pub(super) fn end(&mut self, end: &TunnelEnd, initiator: Side, now: Instant) {
        let actions = Pair::new(|leg| close_action(end, leg.into()));
        self.end_with(end, initiator, None, actions, now);
    }

    pub(super) fn end_by_command(&mut self, command: Command, now: Instant) {
        let (end, action, until) = match command {
            Command::Close {
                frame, end, until, ..
            } => (end, CloseAction::Close(frame), until),
            Command::Abort { end } => (end, CloseAction::Abort, None),
            Command::KeepOpen => return,
        };
        let must_abort = action == CloseAction::Abort;
        let actions = Pair::new(|_| action.clone());
        self.end_with(&end, Side::Proxy, until, actions, now);
        if must_abort {
            // An abort applies also when the tunnel was being ended already.
            for leg in LegId::BOTH {
                self.ask(leg, Ask::Abort, None, now);
            }
        }
        self.apply_orders(now);
    }

    pub(super) fn end_with(
        &mut self,
        end: &TunnelEnd,
        initiator: Side,
        until: Option<Instant>,
        actions: Pair<CloseAction>,
        now: Instant,
    ) {
        // The first reason has closed the legs. One that breaks on the way out must not take the
        // other one's close frame with it.
        if !self.ending_mut().end.decide(end, initiator, until) {
            return;
        }
        self.stop_reattaching(now);
        let mut actions = actions;
        if self.legs[LegId::Upstream].is_detached() {
            actions[LegId::Upstream] = CloseAction::Abort;
        }
        let config = &self.config;
        let actions = actions.map(|leg, action| config.customize_close(end, leg, action));
        self.ending_mut().proxy_close = actions.iter().find_map(|action| match action {
            CloseAction::Close(frame) => Some(frame.code),
            CloseAction::Shut | CloseAction::Abort => None,
        });
        // Aborts first: a leg that is gone cannot bring the other to a frame boundary.
        for leg in LegId::BOTH {
            if actions[leg] == CloseAction::Abort {
                self.ask(leg, Ask::Abort, None, now);
            }
        }
        for leg in LegId::BOTH {
            match &actions[leg] {
                CloseAction::Close(frame) => {
                    let frame = ControlFrame::close(frame.code, &frame.reason);
                    self.ask(leg, Ask::Close, Some(&frame), now);
                }
                CloseAction::Shut => self.ask(leg, Ask::Shut, None, now),
                CloseAction::Abort => {}
            }
        }
    }

    /// Ends a leg in the best way that is still possible.
    fn ask(&mut self, leg: LegId, ask: Ask, frame: Option<&ControlFrame>, now: Instant) {
        let flow = &self.flows[leg.other()];
        let reach = if flow.can_close() {
            Reach::Frame
        } else if flow.track().is_opaque() {
            Reach::End
        } else {
            Reach::Nothing
        };
        let given = self.ending_mut().end.ask(leg, ask, reach, now);
        let flow = &mut self.flows[leg.other()];
        match (given, frame) {
            (Given::CloseQueued(_), Some(frame)) => flow.close(encode_for(leg, frame)),
            (Given::CloseWritten(_), _) => flow.seal(),
            (Given::ShutQueued(_), _) => flow.shut_down(),
            (Given::Gone(_), _) => self.abort(leg),
            _ => {}
        }
    }

    /// Drops a leg's connection, and stops both flows there.
    fn abort(&mut self, leg: LegId) {
        self.flows[leg.other()].abandon_sink();
        self.flows[leg].abandon_source();
        self.legs[leg].abort();
    }

    /// Notes which sides are not read at the beginning of a poll, in which that may change.
    pub(super) fn note_unread(&mut self, clock: &mut Clock) {
        let Some(ending) = &mut self.ending else {
            return;
        };
        for leg in LegId::BOTH {
            if self.flows[leg].is_unread() {
                ending.signs[leg].unread_until = Some(clock.now());
            }
        }
    }
}

//! Poll of both flows.

use std::task::{Context, Poll};

use crate::tunnel::{
    context::{Clock, FlowContext},
    pair::LegId,
    registry::Command,
    scratch::Scratch,
};

use super::state::Core;

/// Whether something happened that may allow more to happen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Made,
    None,
}

impl Core {
    /// Polls both flows once and acts on their events.
    #[inline]
    pub(super) fn step(
        &mut self,
        task: &mut Context<'_>,
        scratch: &mut Scratch,
        clock: &mut Clock,
    ) -> Progress {
        self.note_unread(clock);
        let mut progress = self.apply_command(clock);
        let mut is_upstream_quiet = true;
        for from in LegId::BOTH {
            let (source, sink) = self.legs.split_mut(from);
            let mut cx = FlowContext {
                task,
                clock,
                source,
                sink,
                sink_id: from.other(),
                max_buffered: self.config.max_buffered,
                filter: self
                    .reattaching
                    .as_mut()
                    .and_then(|reattaching| reattaching.filter()),
                position: None,
            };
            let was_blocked = self.flows[from].is_blocked();
            let polled = self.flows[from].poll(&mut cx, scratch);
            if was_blocked && !self.flows[from].is_blocked() {
                // The source was not read, so one that echoes could not take bytes either.
                self.flows[from.other()].restart_stall(clock.now());
            }
            is_upstream_quiet = polled.is_pending();
            if let Poll::Ready(event) = polled {
                self.on_event(from, event, clock.now());
                progress = Progress::Made;
            }
        }
        if self.reattaching.is_some()
            && self.step_reattaching(is_upstream_quiet, task, clock) == Progress::Made
        {
            progress = Progress::Made;
        }
        progress
    }

    fn apply_command(&mut self, clock: &mut Clock) -> Progress {
        let Some(command) = self.entry().take_command() else {
            return Progress::None;
        };
        self.apply_move_order(clock.now());
        if matches!(command, Command::KeepOpen) {
            if let Some(ending) = &mut self.ending {
                ending.take_scheduled();
            }
            return Progress::Made;
        }
        match command.at() {
            Some(at) if at > clock.now() => self.ending_mut().schedule(at, command),
            _ => self.end_by_command(command, clock.now()),
        }
        Progress::Made
    }

    /// Makes the figures that changed visible to the registry.
    pub(super) fn publish(&mut self) {
        for id in LegId::BOTH {
            if !self.flows[id].take_unpublished() {
                continue;
            }
            let (leg, flow) = (&self.legs[id], &self.flows[id]);
            let last_received = leg.last_received.saturating_duration_since(self.opened);
            self.guard.entry().figures().publish(
                id.into(),
                flow.passed_bytes(),
                flow.track().counts().total(),
                last_received,
                leg.rtt(),
            );
        }
    }
}

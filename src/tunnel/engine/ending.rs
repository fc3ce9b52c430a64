//! State of a tunnel's end in the engine.

use tokio::time::Instant;

use crate::{
    frame::CloseCode,
    tunnel::{end::End, pair::Pair, registry::Command},
};

/// State of the end, from the first event or command on.
#[derive(Default)]
pub(super) struct Ending {
    pub(super) end: End,
    /// A requested close, and the moment at which it begins.
    scheduled: Option<(Instant, Command)>,
    /// Whether the report was taken before the tunnel was over.
    pub(super) is_reported: bool,
    pub(super) signs: Pair<Sign>,
    /// Code of the close frame with which the proxy ends the tunnel.
    pub(super) proxy_close: Option<CloseCode>,
}

/// Observations about a side from the first sign of the end on.
#[derive(Default)]
pub(super) struct Sign {
    /// Until when the side was seen not to be read.
    pub(super) unread_until: Option<Instant>,
    /// Whether the side had much to read before what it was given last.
    pub(super) was_burdened: bool,
}

impl Ending {
    /// Replaces the close that was scheduled before: the entry sends the earliest of all closes.
    pub(super) fn schedule(&mut self, at: Instant, command: Command) {
        self.scheduled = Some((at, command));
    }

    pub(super) fn scheduled_at(&self) -> Option<Instant> {
        self.scheduled.as_ref().map(|(at, _)| *at)
    }

    pub(super) fn take_scheduled(&mut self) -> Option<Command> {
        self.scheduled.take().map(|(_, command)| command)
    }
}

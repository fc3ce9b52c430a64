//! A tunnel of a case from the outside: its far ends, its handle and its commands.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};
use wsplice::{
    TunnelReport,
    tunnel::{Framing, Side, TunnelHandle},
};

use crate::support::{
    frames::{close, pong},
    pipe::FarEnd,
    sides::{SIDES, from_side},
};

use super::{
    ends::lock,
    plan::Settings,
    wire::{self, Received},
};

/// A tunnel from the outside.
pub(super) struct Live {
    pub(super) client: Leg,
    pub(super) upstream: Leg,
    pub(super) handle: TunnelHandle,
    /// The reports that the host's function was called with.
    pub(super) shown: Arc<Mutex<Vec<TunnelReport>>>,
    pub(super) task: JoinHandle<()>,
    pub(super) opened: Instant,
    /// When the test last did something to the tunnel.
    pub(super) touched: Instant,
    /// When the first command came that ends the tunnel, and when the last such takes effect.
    pub(super) commanded: Option<(Instant, Instant)>,
    /// The same of the close that the handle can put off and call off.
    pub(super) closes_at: Option<(Instant, Instant)>,
    /// No drain may close the tunnel any more: the drain was called off before.
    pub(super) is_spared: bool,
    /// A drain was under way when the tunnel was opened, and no command has come since: its close is
    /// called off by a resume that comes before the tunnel acts on it.
    pub(super) was_entered_in_drain: bool,
    pub(super) was_aborted: bool,
    pub(super) was_dropped: bool,
}

/// A far end, and the bytes that it has not sent yet.
pub(super) struct Leg {
    pub(super) far: FarEnd,
    kept: Vec<u8>,
    answered_pings: usize,
}

impl Live {
    pub(super) fn leg(&self, side: Side) -> &Leg {
        match side {
            Side::Client => &self.client,
            _ => &self.upstream,
        }
    }

    pub(super) fn leg_mut(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Client => &mut self.client,
            _ => &mut self.upstream,
        }
    }

    pub(super) fn shown(&self) -> MutexGuard<'_, Vec<TunnelReport>> {
        lock(&self.shown)
    }

    /// When the first command came that ends the tunnel, and when the last such takes effect.
    pub(super) fn first_command(&self) -> Option<(Instant, Instant)> {
        let (issued, takes_effect) = self.commanded.or(self.closes_at)?;
        let scheduled = self.closes_at.map_or(issued, |(issued, _)| issued);
        Some((issued.min(scheduled), takes_effect))
    }

    /// How long the limits may have made both sides wait.
    pub(super) fn pauses(&self, settings: &Settings) -> Duration {
        let pauses = |side| settings.pauses(&self.leg(side).far.state().sent);
        SIDES.into_iter().map(pauses).sum()
    }

    /// The bytes that this side has received so far, taken apart.
    pub(super) fn received(&self, side: Side, settings: &Settings) -> Received {
        let sent = match side {
            Side::Client => self.upstream.far.state().sent.clone(),
            _ => self.client.far.state().sent.clone(),
        };
        let state = self.leg(side).far.state();
        match settings.framing {
            Framing::Opaque => wire::parse_opaque(side, &sent, &state.received),
            _ => wire::parse(side, &sent, &state.received, settings.keep_alive.is_some()),
        }
    }
}

impl Leg {
    pub(super) fn new(far: FarEnd) -> Self {
        Self {
            far,
            kept: Vec::new(),
            answered_pings: 0,
        }
    }

    /// Sends these bytes behind those that were kept, and keeps the last so many.
    pub(super) fn send(&mut self, bytes: &[u8], kept: usize) {
        self.kept.extend_from_slice(bytes);
        let len = self.kept.len().saturating_sub(kept);
        self.far.send(&self.kept[..len]);
        self.kept.drain(..len);
    }

    pub(super) fn answer(&mut self, side: Side, seen: &Received) {
        for ping in &seen.pings[self.answered_pings..] {
            self.send(&from_side(side, pong(ping)), 0);
        }
        self.answered_pings = seen.pings.len();
        let is_closed = seen.own_close.is_some() || seen.has_relayed_close;
        let has_closed = wire::first_close(&self.far.state().sent).is_some();
        if is_closed && !has_closed {
            self.send(&from_side(side, close(1000, "")), 0);
        }
    }
}

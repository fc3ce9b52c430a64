//! When quiet tunnels are pinged, so that few wake-ups do for many pings.

use std::time::Duration;

use tokio::time::Instant;

use crate::instant::{FAR, saturating_add};

use super::settings::KeepAlive;

/// How many slots the jitter has: with the default settings one is 125 ms long.
const SLOTS: f64 = 32.0;

/// The settings as all tunnels of a configuration share them, and how they save wake-ups.
///
/// * Both legs of a tunnel are pinged in one wake-up: when one falls due, the other
///   [joins](super::Pinger::join) if its shortest interval is over. So the two throw one die, and
///   an interval is never shorter than the shortest one and two slots.
/// * Tunnels of one configuration count time from one epoch, and an interval ends with a slot of
///   that time. The runtime wakes all that are due in a slot at once.
///
/// Both hide in the jitter: without it, intervals are exact and nothing is saved.
#[derive(Debug)]
pub(in crate::tunnel) struct PingSchedule {
    settings: KeepAlive,
    epoch: Instant,
    /// The shortest interval that the jitter allows.
    shortest: Duration,
    /// Pings of one slot go out at once. Zero if there is no jitter to hide that in.
    pub(super) slot: Duration,
}

impl PingSchedule {
    pub(in crate::tunnel) fn new(settings: KeepAlive, epoch: Instant) -> Self {
        let width = settings.interval.min(FAR).mul_f64(2.0 * settings.share());
        Self {
            settings,
            epoch,
            shortest: settings.jittered(0.0),
            slot: width.div_f64(SLOTS),
        }
    }

    pub(in crate::tunnel) const fn settings(&self) -> &KeepAlive {
        &self.settings
    }

    /// The shortest interval that the jitter allows.
    pub(super) const fn shortest(&self) -> Duration {
        self.shortest
    }

    /// An interval of about this jitter that, begun now, ends with a slot. It leaves the other leg,
    /// whose pong may have come a little later, the time to be past its shortest one by then.
    pub(super) fn interval(&self, begin: Instant, dice: f64) -> Duration {
        let soonest = self.shortest.saturating_add(self.slot * 2);
        let interval = self.settings.jittered(dice).max(soonest);
        let end = saturating_add(begin, interval).saturating_duration_since(self.epoch);
        let behind = end.as_nanos().checked_rem(self.slot.as_nanos());
        let behind = behind.and_then(|behind| u64::try_from(behind).ok());
        let behind = Duration::from_nanos(behind.unwrap_or(0));
        interval.saturating_sub(behind)
    }
}

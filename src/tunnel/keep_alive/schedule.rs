//! Ping schedule: few wake-ups for the pings of many quiet tunnels.

use std::time::Duration;

use tokio::time::Instant;

use crate::instant::{FAR, saturating_add};

use super::settings::KeepAlive;

/// Number of slots in the jitter: with the default settings one is 125 ms long.
const SLOTS: f64 = 32.0;

/// Keep-alive settings and epoch that all tunnels of a configuration share, to save wake-ups.
///
/// * Both legs of a tunnel are pinged in one wake-up: when one falls due, the other
///   [joins](super::Pinger::join) if its shortest interval is over. So the two share one random
///   sample, and an interval is never shorter than the shortest one and two slots.
/// * Tunnels of one configuration count time from one epoch, and an interval ends with a slot of
///   that time. The runtime wakes all that are due in a slot at once.
///
/// Both use the room of the jitter: without it, intervals are exact and nothing is saved.
#[derive(Debug)]
pub(in crate::tunnel) struct PingSchedule {
    settings: KeepAlive,
    epoch: Instant,
    /// The shortest interval that the jitter allows.
    shortest: Duration,
    /// Length of a slot, whose pings are sent at once. Zero without jitter.
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

    /// Returns an interval of about this jitter that, from `begin`, ends with a slot. The interval
    /// is long enough for the other leg, whose pong may have come a little later, to be past its
    /// shortest one by then.
    pub(super) fn interval(&self, begin: Instant, jitter_sample: f64) -> Duration {
        let soonest = self.shortest.saturating_add(self.slot * 2);
        let interval = self.settings.jittered(jitter_sample).max(soonest);
        let end = saturating_add(begin, interval).saturating_duration_since(self.epoch);
        let behind = nanos(end).checked_rem(nanos(self.slot));
        let behind = Duration::from_nanos(behind.unwrap_or(0));
        interval.saturating_sub(behind)
    }
}

/// The time in nanoseconds. Divisions of 64 bits are much cheaper than those of 128, and end after
/// 584 years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

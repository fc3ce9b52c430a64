//! Time of the next health change without an event. Pure.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// Time at which the health of an upstream may next change without an event.
///
/// Every pick reads it, so it is a single number.
#[derive(Debug)]
pub(super) struct Alarm {
    born: Instant,
    /// Nanoseconds since creation.
    at: AtomicU64,
}

const NEVER: u64 = u64::MAX;

impl Alarm {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            born: now,
            at: AtomicU64::new(NEVER),
        }
    }

    /// Moves the time forward to `at`, if that is earlier; returns whether it was.
    pub(super) fn set(&self, at: Instant) -> bool {
        let at = self.number(at);
        self.at.fetch_min(at, Ordering::AcqRel) > at
    }

    /// Whether the time has come: true for one caller, and the time is cleared then.
    pub(super) fn has_rung(&self, now: Instant) -> bool {
        let at = self.at.load(Ordering::Acquire);
        at <= self.number(now)
            && self
                .at
                .compare_exchange(at, NEVER, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    pub(super) fn at(&self) -> Option<Instant> {
        let at = self.at.load(Ordering::Acquire);
        (at != NEVER).then(|| self.born + std::time::Duration::from_nanos(at))
    }

    fn number(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.born).as_nanos();
        u64::try_from(nanos).map_or(NEVER - 1, |nanos| nanos.min(NEVER - 1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_soonest_moment_counts_and_rings_once() {
        let born = Instant::now();
        let at = |secs| born + Duration::from_secs(secs);
        let alarm = Alarm::new(born);
        assert_eq!(alarm.at(), None);
        assert!(!alarm.has_rung(at(1_000_000)));
        assert!(alarm.set(at(5)));
        assert!(!alarm.set(at(9)), "that is later");
        assert!(alarm.set(at(3)));
        assert_eq!(alarm.at(), Some(at(3)));
        assert!(!alarm.has_rung(at(2)));
        assert!(alarm.has_rung(at(3)));
        assert!(!alarm.has_rung(at(3)));
    }

    #[test]
    fn a_moment_of_the_past_rings_at_once() {
        let born = Instant::now() + Duration::from_secs(9);
        let alarm = Alarm::new(born);
        alarm.set(born - Duration::from_secs(5));
        assert!(alarm.has_rung(born));
    }
}

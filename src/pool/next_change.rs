//! Time of the next health change without an event. Pure.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// Time at which the health of an upstream may next change without an event.
///
/// Every pick reads it, so it is a single number.
#[derive(Debug)]
pub(super) struct NextChange {
    origin: Instant,
    /// Nanoseconds since creation.
    at: AtomicU64,
}

const NEVER: u64 = u64::MAX;

impl NextChange {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            origin: now,
            at: AtomicU64::new(NEVER),
        }
    }

    /// Moves the time forward to `at`, if that is earlier; returns whether it was.
    pub(super) fn bring_forward(&self, at: Instant) -> bool {
        let at = self.nanos(at);
        self.at.fetch_min(at, Ordering::AcqRel) > at
    }

    /// Whether the time has come: true for one caller, and the time is cleared then.
    pub(super) fn take_due(&self, now: Instant) -> bool {
        let at = self.at.load(Ordering::Acquire);
        at <= self.nanos(now)
            && self
                .at
                .compare_exchange(at, NEVER, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    pub(super) fn at(&self) -> Option<Instant> {
        let at = self.at.load(Ordering::Acquire);
        (at != NEVER).then(|| self.origin + std::time::Duration::from_nanos(at))
    }

    fn nanos(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(nanos).map_or(NEVER - 1, |nanos| nanos.min(NEVER - 1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_soonest_moment_counts_and_rings_once() {
        let origin = Instant::now();
        let at = |secs| origin + Duration::from_secs(secs);
        let next_change = NextChange::new(origin);
        assert_eq!(next_change.at(), None);
        assert!(!next_change.take_due(at(1_000_000)));
        assert!(next_change.bring_forward(at(5)));
        assert!(!next_change.bring_forward(at(9)), "that is later");
        assert!(next_change.bring_forward(at(3)));
        assert_eq!(next_change.at(), Some(at(3)));
        assert!(!next_change.take_due(at(2)));
        assert!(next_change.take_due(at(3)));
        assert!(!next_change.take_due(at(3)));
    }

    #[test]
    fn a_moment_of_the_past_rings_at_once() {
        let origin = Instant::now() + Duration::from_secs(9);
        let next_change = NextChange::new(origin);
        next_change.bring_forward(origin - Duration::from_secs(5));
        assert!(next_change.take_due(origin));
    }
}

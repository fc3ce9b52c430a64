//! Schedule of a source's queries. Pure: time and randomness are arguments.

use std::time::Duration;

use tokio::time::Instant;

use crate::instant::saturating_add;

/// Delay after the first failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Longest delay after failures.
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Schedule of a source's queries.
#[derive(Clone, Debug, Default)]
pub(super) struct PollSchedule {
    /// Time of the next query; `None` before the first, which is immediate.
    due: Option<Instant>,
    failures: u32,
}

impl PollSchedule {
    /// Returns the time of the next query; `None` means now.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Schedules the next query after this delay: the last result is valid for so long. Failures
    /// before it are forgotten.
    pub(super) fn after(&mut self, now: Instant, delay: Duration) {
        self.failures = 0;
        self.due = Some(saturating_add(now, delay));
    }

    /// Schedules the next query after a failure: sooner than usual, with a delay that grows each
    /// time. `random` is between 0 and 1; the jitter keeps many proxies from querying
    /// simultaneously.
    pub(super) fn failed(&mut self, now: Instant, max_delay: Duration, random: f64) {
        let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.min(16));
        let wait = doubled.min(LAST_RETRY).min(max_delay);
        self.failures = self.failures.saturating_add(1);
        self.due = Some(saturating_add(
            now,
            wait.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_retried_soon_then_ever_later_and_a_success_resets_the_delay() {
        let now = Instant::now();
        let mut schedule = PollSchedule::default();
        assert_eq!(schedule.due(), None);
        let minute = Duration::from_secs(60);
        for seconds in [1, 2, 4, 8, 10, 10] {
            schedule.failed(now, minute, 1.0);
            assert_eq!(schedule.due(), Some(now + Duration::from_secs(seconds)));
        }
        schedule.after(now, minute);
        assert_eq!(schedule.due(), Some(now + minute));
        schedule.failed(now, minute, 0.0);
        assert_eq!(schedule.due(), Some(now + Duration::from_millis(500)));
        for _ in 0..100 {
            schedule.failed(now, Duration::from_secs(3), 1.0);
        }
        assert_eq!(schedule.due(), Some(now + Duration::from_secs(3)));
    }

    #[test]
    fn a_result_may_be_valid_for_ever() {
        let mut schedule = PollSchedule::default();
        schedule.after(Instant::now(), Duration::MAX);
        assert!(schedule.due().is_some());
    }
}

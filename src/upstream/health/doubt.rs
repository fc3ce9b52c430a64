//! Doubt: a short time in which an upstream that failed a client is less preferred. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::instant::saturating_add;

/// First doubt, doubled with each further failure in a row.
const FIRST: Duration = Duration::from_secs(1);

/// Longest doubt.
const LONGEST: Duration = Duration::from_secs(30);

/// Doubt about one upstream.
///
/// A failure of one client is no verdict, but reason enough to ask another upstream first: one that
/// fails fast holds no tunnels, and would be the least loaded forever. Each failure in a row
/// doubles the time; a success ends it. When the time is over, one client tries the upstream, and
/// its result decides for the others.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Doubt {
    failures: u32,
    until: Option<Instant>,
}

impl Doubt {
    /// Takes in a failure.
    pub(crate) fn fail(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.extend(saturating_add(now, self.time()));
    }

    /// Takes in a success.
    pub(crate) const fn succeed(&mut self) {
        self.failures = 0;
        self.until = None;
    }

    /// Doubts at least until this time.
    pub(crate) fn extend(&mut self, until: Instant) {
        self.until = self.until.max(Some(until));
    }

    /// Takes in that a client is sent to the upstream. If the time is over, the others wait for the
    /// result of this one, as long as they have waited before.
    pub(crate) fn try_one(&mut self, now: Instant) {
        if self.is_open() && !self.is_doubted(now) {
            self.until = Some(saturating_add(now, self.time()));
        }
    }

    /// Whether other upstreams are preferable.
    pub(crate) fn is_doubted(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Whether no success has followed the last failure.
    pub(crate) const fn is_open(&self) -> bool {
        self.until.is_some()
    }

    fn time(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        FIRST.saturating_mul(1 << doublings).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::health::testing::{at, secs};

    #[test]
    fn failures_in_a_row_double_the_doubt_and_a_success_ends_it() {
        let mut doubt = Doubt::default();
        assert!(!doubt.is_doubted(secs(0)));
        for (time, failed_at) in [(1, 0), (2, 100), (4, 200), (8, 300), (16, 400), (30, 500)] {
            doubt.fail(secs(failed_at));
            assert!(
                doubt.is_doubted(at((failed_at + time) * 1000 - 1)),
                "{time}"
            );
            assert!(!doubt.is_doubted(secs(failed_at + time)), "{time}");
        }
        doubt.succeed();
        assert!(!doubt.is_doubted(secs(500)) && !doubt.is_open());
        doubt.fail(secs(600));
        assert!(!doubt.is_doubted(secs(601)));
    }

    #[test]
    fn when_the_time_is_over_one_client_tries_and_the_others_wait() {
        let mut doubt = Doubt::default();
        doubt.try_one(secs(0));
        assert!(!doubt.is_open(), "there was no failure");
        doubt.fail(secs(0));
        doubt.fail(secs(0));
        doubt.try_one(secs(1));
        assert!(
            !doubt.is_doubted(secs(2)),
            "a client in the time changes nothing"
        );
        doubt.try_one(secs(2));
        assert!(doubt.is_doubted(secs(3)) && !doubt.is_doubted(secs(4)));
    }
}

//! Health policy by the number of failures within a time.

use std::{borrow::Cow, collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{
    health_policy::{HealthEvaluator, HealthPolicy, Verdict},
    plural::counted,
};
use crate::{
    instant::saturating_add,
    upstream::health::{
        event::{EventOutcome, HealthEvent},
        event_filter::EventFilter,
    },
};

/// Health policy: unhealthy while a number of failures lie within a time; each failure expires by
/// itself.
///
/// The policy is that of `max_fails` and `fail_duration` in Caddy. Passes have no effect. The
/// upstream recovers without a probe, as its failures expire; an
/// [ejection](crate::health::Ejection) may last longer, so set its base to zero for exactly this
/// timing.
///
/// # Defaults
///
/// | method | default | why |
/// |---|---|---|
/// | [`counting`](Self::counting) | [`EventFilter::handshakes`] | Caddy counts requests too |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::health::MaxFails;
///
/// let policy = MaxFails::new(3, Duration::from_secs(30));
/// # let _ = policy;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct MaxFails {
    max_fails: u32,
    fail_duration: Duration,
    signals: EventFilter,
}

impl MaxFails {
    /// Creates the policy: `max_fails` failures (0 counts as 1) within `fail_duration` are too
    /// many.
    pub const fn new(max_fails: u32, fail_duration: Duration) -> Self {
        Self {
            max_fails: if max_fails == 0 { 1 } else { max_fails },
            fail_duration,
            signals: EventFilter::handshakes(),
        }
    }

    /// Sets the events that count.
    pub const fn counting(mut self, signals: EventFilter) -> Self {
        self.signals = signals;
        self
    }

    const fn is_too_many(&self, failures: usize) -> bool {
        failures >= self.max_fails as usize
    }
}

impl HealthPolicy for MaxFails {
    fn evaluator(&self) -> Box<dyn HealthEvaluator> {
        Box::new(MaxFailsEvaluator {
            policy: self.clone(),
            failures: VecDeque::new(),
            last: String::new(),
        })
    }
}

#[derive(Debug)]
struct MaxFailsEvaluator {
    policy: MaxFails,
    /// Times of the last failures, oldest first: at most the maximum, as older ones cannot matter.
    failures: VecDeque<Instant>,
    last: String,
}

impl MaxFailsEvaluator {
    /// Returns when the oldest failure expires, if there are enough of them.
    fn unhealthy_until(&self) -> Option<Instant> {
        let oldest = self.failures.front()?;
        self.policy
            .is_too_many(self.failures.len())
            .then(|| saturating_add(*oldest, self.policy.fail_duration))
    }
}

impl HealthEvaluator for MaxFailsEvaluator {
    fn observe(&mut self, event: &HealthEvent) {
        if self.policy.signals.read(&event.kind) != EventOutcome::Bad {
            return;
        }
        self.last = event.kind.to_string();
        let index = self.failures.partition_point(|at| *at <= event.at);
        self.failures.insert(index, event.at);
        if self.policy.is_too_many(self.failures.len() - 1) {
            self.failures.pop_front();
        }
    }

    fn verdict(&mut self, now: Instant) -> Verdict {
        match self.unhealthy_until() {
            Some(until) if now < until => Verdict::Unhealthy,
            _ => Verdict::Healthy,
        }
    }

    fn changes_at(&self) -> Option<Instant> {
        self.unhealthy_until()
    }

    fn cause(&self) -> Cow<'_, str> {
        let fails = counted(self.policy.max_fails.into(), "failure");
        let (within, last) = (self.policy.fail_duration, &self.last);
        format!("{fails} within {within:?}: {last}").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::health::testing::{accepted, at, connect_failed, secs, verdict_after};
    use proptest::prelude::*;

    #[test]
    fn each_failure_is_forgotten_by_itself() {
        let mut evaluator = MaxFails::new(2, Duration::from_secs(10)).evaluator();
        let first = verdict_after(&mut *evaluator, secs(0), connect_failed());
        assert_eq!(first, Verdict::Healthy);
        assert_eq!(evaluator.changes_at(), None);
        let second = verdict_after(&mut *evaluator, secs(4), connect_failed());
        assert_eq!(second, Verdict::Unhealthy);
        assert_eq!(evaluator.changes_at(), Some(secs(10)));
        assert_eq!(evaluator.verdict(at(9_999)), Verdict::Unhealthy);
        assert_eq!(evaluator.verdict(secs(10)), Verdict::Healthy);
        let third = verdict_after(&mut *evaluator, secs(13), connect_failed());
        assert_eq!(third, Verdict::Unhealthy, "the one at 4 s still counts");
        assert_eq!(evaluator.changes_at(), Some(secs(14)));
    }

    #[test]
    fn a_pass_forgives_nothing() {
        let mut evaluator = MaxFails::new(1, Duration::from_secs(10)).evaluator();
        verdict_after(&mut *evaluator, secs(0), connect_failed());
        let verdict = verdict_after(&mut *evaluator, secs(1), accepted());
        assert_eq!(verdict, Verdict::Unhealthy);
        let cause = "1 failure within 10s: the upstream could not be connected";
        assert_eq!(evaluator.cause(), cause);
    }

    proptest! {
        #[test]
        fn the_verdict_is_a_count_within_the_duration(
            mut times in proptest::collection::vec(0..60_000_u64, 0..40),
            max in 1..5_u32,
            asked in 0..80_000_u64,
        ) {
            times.sort_unstable();
            times.retain(|time| *time <= asked);
            let mut evaluator = MaxFails::new(max, Duration::from_secs(10)).evaluator();
            for time in &times {
                evaluator.observe(&HealthEvent::new(at(*time), connect_failed()));
            }
            let recent = times.iter().filter(|time| asked - **time < 10_000).count();
            let expected = if recent >= max as usize { Verdict::Unhealthy } else { Verdict::Healthy };
            prop_assert_eq!(evaluator.verdict(at(asked)), expected);
        }
    }
}

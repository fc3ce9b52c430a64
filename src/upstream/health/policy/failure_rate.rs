//! Health policy by the failure rate in a sliding window.

use std::{borrow::Cow, time::Duration};

use tokio::time::Instant;

use super::{
    health_policy::{HealthEvaluator, HealthPolicy, Verdict},
    plural::counted,
};
use crate::{
    upstream::health::{
        event::{EventOutcome, HealthEvent},
        event_filter::EventFilter,
    },
    upstream::sliding_window::SlidingWindow,
};

/// Health policy: unhealthy while failures exceed a share of the events in a sliding window.
///
/// With fewer events than a minimum the upstream is healthy, as two failures of three are weak
/// evidence. The window slides in tenths, so that memory does not grow with traffic. As the
/// failures leave the window, the upstream recovers.
///
/// # Defaults
///
/// | method | default | unit | why | Envoy |
/// |---|---|---|---|---|
/// | [`default`](Self::default) | above 0.5 | share | most handshakes fail | `failure_percentage_threshold` |
/// | [`minimum`](Self::minimum) | 10 | events | a rate needs several | `failure_percentage_request_volume` |
/// | [`window`](Self::window) | 10 | seconds | reacts within seconds | `interval` |
/// | [`counting`](Self::counting) | [`EventFilter::handshakes`] | | probes are too few for a rate | |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::health::FailureRate;
///
/// let policy = FailureRate::above(0.2).minimum(50).window(Duration::from_secs(60));
/// # let _ = policy;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct FailureRate {
    share: f64,
    minimum: u32,
    window: Duration,
    signals: EventFilter,
}

impl FailureRate {
    /// Creates the policy with the highest share of failures that is healthy, from 0 to 1.
    pub const fn above(share: f64) -> Self {
        Self {
            share,
            minimum: 10,
            window: Duration::from_secs(10),
            signals: EventFilter::handshakes(),
        }
    }

    /// Sets the number of events in the window from which the rate counts; 0 counts as 1.
    pub const fn minimum(mut self, events: u32) -> Self {
        self.minimum = events;
        self
    }

    /// Sets the length of the window, at least 10 milliseconds.
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets the events that count.
    pub const fn counting(mut self, signals: EventFilter) -> Self {
        self.signals = signals;
        self
    }
}

impl Default for FailureRate {
    fn default() -> Self {
        Self::above(0.5)
    }
}

impl HealthPolicy for FailureRate {
    fn evaluator(&self) -> Box<dyn HealthEvaluator> {
        Box::new(FailureRateEvaluator {
            window: SlidingWindow::new(self.window),
            policy: self.clone(),
            last: String::new(),
        })
    }
}

#[derive(Debug)]
struct FailureRateEvaluator {
    policy: FailureRate,
    window: SlidingWindow<WindowCounts>,
    last: String,
}

impl HealthEvaluator for FailureRateEvaluator {
    fn observe(&mut self, event: &HealthEvent) {
        match self.policy.signals.read(&event.kind) {
            EventOutcome::Neutral => {}
            EventOutcome::Good => self.window.slot(event.at).good += 1,
            EventOutcome::Bad => {
                self.window.slot(event.at).bad += 1;
                self.last = event.kind.to_string();
            }
        }
    }

    fn verdict(&mut self, now: Instant) -> Verdict {
        self.window.slide(now);
        let WindowCounts { good, bad } = self.sum();
        let all = good + bad;
        let is_enough = all >= u64::from(self.policy.minimum.max(1));
        #[allow(clippy::cast_precision_loss)] // counts stay below 2^53
        let share = bad as f64 / all as f64;
        if is_enough && share > self.policy.share {
            Verdict::Unhealthy
        } else {
            Verdict::Healthy
        }
    }

    fn changes_at(&self) -> Option<Instant> {
        (self.sum().bad > 0).then(|| self.window.next_expiry())?
    }

    fn cause(&self) -> Cow<'_, str> {
        let WindowCounts { good, bad } = self.sum();
        let (all, window, last) = (good + bad, self.policy.window, &self.last);
        let failures = counted(bad, "failure");
        format!("{failures} of {all} within {window:?}: {last}").into()
    }
}

/// Good and bad events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct WindowCounts {
    good: u64,
    bad: u64,
}

impl FailureRateEvaluator {
    fn sum(&self) -> WindowCounts {
        let add = |sum: WindowCounts, slot: &WindowCounts| WindowCounts {
            good: sum.good + slot.good,
            bad: sum.bad + slot.bad,
        };
        self.window.slots().fold(WindowCounts::default(), add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::health::testing::{accepted, at, connect_failed, secs, verdict_after};
    use proptest::prelude::*;

    #[test]
    fn below_the_minimum_everything_is_healthy() {
        let mut evaluator = FailureRate::default().evaluator();
        for _ in 0..9 {
            let verdict = verdict_after(&mut *evaluator, at(0), connect_failed());
            assert_eq!(verdict, Verdict::Healthy);
        }
        let tenth = verdict_after(&mut *evaluator, at(0), connect_failed());
        assert_eq!(tenth, Verdict::Unhealthy);
        let cause = "10 failures of 10 within 10s: the upstream could not be connected";
        assert_eq!(evaluator.cause(), cause);
    }

    #[test]
    fn exactly_the_share_is_not_above_it() {
        let mut evaluator = FailureRate::above(0.5).minimum(2).evaluator();
        verdict_after(&mut *evaluator, at(0), accepted());
        let half = verdict_after(&mut *evaluator, at(0), connect_failed());
        assert_eq!(half, Verdict::Healthy);
        let more = verdict_after(&mut *evaluator, at(0), connect_failed());
        assert_eq!(more, Verdict::Unhealthy);
    }

    #[test]
    fn the_next_change_is_the_expiry_of_the_failures() {
        let mut evaluator = FailureRate::default().minimum(1).evaluator();
        let verdict = verdict_after(&mut *evaluator, secs(5), connect_failed());
        assert_eq!(verdict, Verdict::Unhealthy);
        assert_eq!(evaluator.changes_at(), Some(secs(15)));
        assert_eq!(evaluator.verdict(at(14_999)), Verdict::Unhealthy);
        assert_eq!(evaluator.verdict(secs(15)), Verdict::Healthy);
        assert_eq!(evaluator.changes_at(), None);
    }

    #[test]
    fn forgetting_passes_can_make_it_unhealthy_and_is_announced() {
        let mut evaluator = FailureRate::above(0.5).minimum(2).evaluator();
        verdict_after(&mut *evaluator, secs(0), accepted());
        verdict_after(&mut *evaluator, secs(0), accepted());
        verdict_after(&mut *evaluator, secs(5), connect_failed());
        let half = verdict_after(&mut *evaluator, secs(5), connect_failed());
        assert_eq!(half, Verdict::Healthy);
        assert_eq!(evaluator.changes_at(), Some(secs(10)));
        assert_eq!(evaluator.verdict(secs(10)), Verdict::Unhealthy);
    }

    #[test]
    fn a_long_silence_costs_nothing() {
        let mut evaluator = FailureRate::default().minimum(1).evaluator();
        verdict_after(&mut *evaluator, secs(0), connect_failed());
        assert_eq!(evaluator.verdict(secs(40_000_000)), Verdict::Healthy);
    }

    proptest! {
        #[test]
        fn the_window_matches_its_definition(
            mut events in proptest::collection::vec((0..40_000_u64, any::<bool>()), 1..80),
            minimum in 1..8_u64,
        ) {
            events.sort_unstable();
            let policy = FailureRate::above(0.4).minimum(minimum as u32);
            let mut evaluator = policy.evaluator();
            let origin = events[0].0;
            for (index, (time, good)) in events.iter().enumerate() {
                let kind = if *good { accepted() } else { connect_failed() };
                let verdict = verdict_after(&mut *evaluator, at(*time), kind);

                let slot = |time: u64| (time - origin) / 1_000;
                let in_window = |event: &&(u64, bool)| slot(event.0) + 10 > slot(*time);
                let seen: Vec<_> = events[..=index].iter().filter(in_window).collect();
                let bad = seen.iter().filter(|event| !event.1).count();
                let unhealthy = seen.len() as u64 >= minimum
                    && bad as f64 / seen.len() as f64 > 0.4;
                prop_assert_eq!(verdict == Verdict::Unhealthy, unhealthy, "at {}", time);
            }
        }

        #[test]
        fn the_verdict_changes_at_announced_times_only(
            mut events in proptest::collection::vec((0..15_000_u64, any::<bool>()), 1..30),
        ) {
            events.sort_unstable();
            let mut evaluator = FailureRate::above(0.4).minimum(2).evaluator();
            for (time, good) in &events {
                let kind = if *good { accepted() } else { connect_failed() };
                verdict_after(&mut *evaluator, at(*time), kind);
            }
            let mut now = events[events.len() - 1].0;
            let mut verdict = evaluator.verdict(at(now));
            while now < 40_000 {
                let announced = evaluator.changes_at();
                now += 50;
                if announced.is_none_or(|change| at(now) < change) {
                    prop_assert_eq!(evaluator.verdict(at(now)), verdict, "at {}", now);
                } else {
                    verdict = evaluator.verdict(at(now));
                }
            }
        }
    }

    #[test]
    fn successes_alone_announce_no_change() {
        let mut evaluator = FailureRate::default().evaluator();
        verdict_after(&mut *evaluator, at(0), accepted());
        assert_eq!(evaluator.changes_at(), None);
        verdict_after(&mut *evaluator, at(0), connect_failed());
        assert!(evaluator.changes_at().is_some());
    }
}

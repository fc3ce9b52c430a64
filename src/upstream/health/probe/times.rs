//! Probe times of one upstream. Pure: time and randomness are arguments.

use tokio::time::Instant;

use crate::{instant::saturating_add, upstream::health::health_state::HealthState};

use super::schedule::ProbeSchedule;

/// Probe times of one upstream: the first probe at once, then one each interval, never two at a
/// time.
///
/// A probe that takes longer than the interval is followed by the next immediately.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "test-util")] {
/// use std::time::Duration;
/// use tokio::time::Instant;
/// use wsplice::{
///     health::{Consecutive, Ejection, probe::ProbeSchedule},
///     testing::{HealthTracker, ProbeTimes, Probed},
/// };
///
/// let now = Instant::now();
/// let settings = ProbeSchedule::every(Duration::from_secs(10)).jitter(0.0);
/// let policy = std::sync::Arc::new(Consecutive::new());
/// let tracker = HealthTracker::new(policy, Ejection::new(), Probed::Yes, now);
///
/// let mut times = ProbeTimes::new(now);
/// assert!(times.start(now), "the first probe is due at once");
/// assert_eq!(times.due(), None, "one is under way");
///
/// let end = now + Duration::from_secs(1);
/// times.finish(&settings, tracker.state(), end, 0.5);
/// assert_eq!(times.due(), Some(now + Duration::from_secs(10)));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ProbeTimes {
    phase: ProbePhase,
}

#[derive(Clone, Copy, Debug)]
enum ProbePhase {
    /// The first probe is due, and may be put off.
    Joined {
        due: Instant,
    },
    Waiting {
        began: Option<Instant>,
        due: Instant,
    },
    Probing {
        began: Instant,
    },
}

impl ProbeTimes {
    /// Creates a state in which the first probe is due now.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            phase: ProbePhase::Joined { due: now },
        }
    }

    /// Whether the first probe was neither started nor put off.
    pub(crate) const fn has_just_joined(&self) -> bool {
        matches!(self.phase, ProbePhase::Joined { .. })
    }

    /// Puts the first probe off to this time, once.
    pub(crate) const fn put_off_first(&mut self, due: Instant) {
        if self.has_just_joined() {
            // Joined => Waiting
            self.phase = ProbePhase::Waiting { began: None, due };
        }
    }

    /// Returns when the next probe is due; `None` while one is under way.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        match self.phase {
            ProbePhase::Joined { due } | ProbePhase::Waiting { due, .. } => Some(due),
            ProbePhase::Probing { .. } => None,
        }
    }

    /// Starts a probe if one is due, and returns whether it did. After `true`,
    /// [`finish`](Self::finish) must follow.
    #[must_use]
    pub fn start(&mut self, now: Instant) -> bool {
        let is_due = self.due().is_some_and(|due| due <= now);
        if is_due {
            // Joined | Waiting => Probing
            self.phase = ProbePhase::Probing { began: now };
        }
        is_due
    }

    /// Ends the probe under way and schedules the next by the upstream's state. `random` is a
    /// number from 0 to 1 for the jitter.
    pub fn finish(
        &mut self,
        schedule: &ProbeSchedule,
        state: &HealthState,
        now: Instant,
        random: f64,
    ) {
        if let ProbePhase::Probing { began } = self.phase {
            // Probing => Waiting
            let due = saturating_add(began, schedule.interval(state, random)).max(now);
            self.phase = ProbePhase::Waiting {
                began: Some(began),
                due,
            };
        }
    }

    /// Ends the probe under way without a result: the next one is due now.
    pub(crate) const fn abandon(&mut self, now: Instant) {
        if let ProbePhase::Probing { began } = self.phase {
            // Probing => Waiting
            self.phase = ProbePhase::Waiting {
                began: Some(began),
                due: now,
            };
        }
    }

    /// Reschedules the next probe after clients' events have changed the upstream's state: it is
    /// due as if the state had been so when the last probe began.
    pub fn reschedule(
        &mut self,
        schedule: &ProbeSchedule,
        state: &HealthState,
        now: Instant,
        random: f64,
    ) {
        if let ProbePhase::Waiting {
            began: Some(began),
            due,
        } = &mut self.phase
        {
            let sooner = saturating_add(*began, schedule.interval(state, random)).max(now);
            *due = sooner.min(*due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::upstream::health::testing::{at, secs};
    use proptest::prelude::*;

    fn healthy() -> HealthState {
        HealthState::Healthy { since: at(0) }
    }

    fn unhealthy() -> HealthState {
        HealthState::Unhealthy {
            since: at(0),
            cause: "".into(),
            until: None,
        }
    }

    fn every(seconds: u64) -> ProbeSchedule {
        ProbeSchedule::every(Duration::from_secs(seconds)).jitter(0.0)
    }

    fn started(now: Instant) -> ProbeTimes {
        let mut times = ProbeTimes::new(now);
        assert!(times.start(now));
        times
    }

    #[test]
    fn the_first_is_due_at_once_and_never_a_second_beside_it() {
        let mut times = ProbeTimes::new(secs(5));
        assert_eq!(times.due(), Some(secs(5)));
        assert!(times.start(secs(5)));
        assert!(!times.start(secs(500)));
        assert_eq!(times.due(), None);
    }

    #[test]
    fn the_interval_is_from_start_to_start_and_shorter_while_unhealthy() {
        let mut times = started(secs(0));
        times.finish(&every(10), &healthy(), secs(4), 0.5);
        assert_eq!(times.due(), Some(secs(10)));
        assert!(!times.start(at(9_999)));
        assert!(times.start(secs(10)));
        times.finish(&every(10), &unhealthy(), secs(11), 0.5);
        assert_eq!(times.due(), Some(secs(12)));
    }

    #[test]
    fn a_probe_that_overruns_is_followed_at_once() {
        let mut times = started(secs(0));
        times.finish(&every(10), &unhealthy(), secs(5), 0.5);
        assert_eq!(times.due(), Some(secs(5)));
    }

    #[test]
    fn while_unhealthy_is_never_slower() {
        let mut times = started(secs(0));
        times.finish(&every(1), &unhealthy(), secs(0), 0.5);
        assert_eq!(times.due(), Some(secs(1)));
    }

    #[test]
    fn a_failure_between_two_probes_brings_the_next_forward_and_nothing_delays_it() {
        let mut times = started(secs(0));
        times.finish(&every(10), &healthy(), secs(1), 0.5);
        times.reschedule(&every(10), &unhealthy(), secs(4), 0.5);
        assert_eq!(times.due(), Some(secs(4)));
        times.reschedule(&every(10), &healthy(), secs(4), 0.5);
        assert_eq!(times.due(), Some(secs(4)));
        let mut times = started(secs(0));
        times.reschedule(&every(10), &unhealthy(), secs(4), 0.5);
        assert_eq!(times.due(), None, "one is under way");
    }

    #[test]
    fn a_probe_that_is_given_up_is_made_up_for_at_once() {
        let mut times = started(secs(0));
        times.abandon(secs(3));
        assert_eq!(times.due(), Some(secs(3)));
        times.abandon(secs(4));
        assert_eq!(times.due(), Some(secs(3)), "none was under way");
    }

    proptest! {
        #[test]
        fn no_setting_panics_and_none_spins(
            interval in 0..u64::MAX, fast in 0..u64::MAX, jitter in 0.0..0.9_f64, random: f64,
        ) {
            let schedule = ProbeSchedule::every(Duration::from_millis(interval))
                .while_unhealthy(Duration::from_millis(fast))
                .jitter(jitter);
            let mut times = started(secs(0));
            times.finish(&schedule, &unhealthy(), secs(0), random);
            prop_assert!(times.due() > Some(secs(0)));
        }
    }
}

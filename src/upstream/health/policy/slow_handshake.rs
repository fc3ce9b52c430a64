//! Health policy by the latency of handshakes.

use std::{borrow::Cow, time::Duration};

use tokio::time::Instant;

use super::{
    consecutive_counts::ConsecutiveCounts,
    health_policy::{HealthEvaluator, HealthPolicy, Verdict},
    plural::counted,
};
use crate::upstream::health::{
    event::{EventOutcome, HealthEvent, HealthEventKind},
    event_filter::EventFilter,
};

/// Health policy: unhealthy after a number of consecutive slow handshakes, healthy after a number
/// of quick ones.
///
/// Probes and clients' handshakes are counted separately. Only successes count; combine the policy
/// with others by [`AnyOf`](super::AnyOf) to count failures.
///
/// # Defaults
///
/// | method | default | unit | why |
/// |---|---|---|---|
/// | [`strikes`](Self::strikes) | 5 | handshakes | a short pause is normal |
/// | [`passes`](Self::passes) | 1 | handshakes | a quick one shows that the cause is gone |
/// | [`counting`](Self::counting) | [`EventFilter::all`] | | |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::health::SlowHandshake;
///
/// let policy = SlowHandshake::above(Duration::from_millis(800)).strikes(10).passes(2);
/// # let _ = policy;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SlowHandshake {
    limit: Duration,
    strikes: u32,
    passes: u32,
    signals: EventFilter,
}

impl SlowHandshake {
    /// Creates the policy: handshakes that take longer than `limit` are slow.
    pub const fn above(limit: Duration) -> Self {
        Self {
            limit,
            strikes: 5,
            passes: 1,
            signals: EventFilter::all(),
        }
    }

    /// Sets the number of consecutive slow handshakes from which an upstream is unhealthy; 0 counts
    /// as 1.
    pub const fn strikes(mut self, strikes: u32) -> Self {
        self.strikes = strikes;
        self
    }

    /// Sets the number of consecutive quick handshakes from which it is healthy again; 0 counts as
    /// 1.
    pub const fn passes(mut self, passes: u32) -> Self {
        self.passes = passes;
        self
    }

    /// Sets the events that count; only passed probes and accepted handshakes have a latency.
    pub const fn counting(mut self, signals: EventFilter) -> Self {
        self.signals = signals;
        self
    }
}

impl HealthPolicy for SlowHandshake {
    fn evaluator(&self) -> Box<dyn HealthEvaluator> {
        Box::new(SlowHandshakeEvaluator {
            counts: ConsecutiveCounts::new(self.strikes, self.passes),
            policy: self.clone(),
            last: Duration::ZERO,
        })
    }
}

#[derive(Debug)]
struct SlowHandshakeEvaluator {
    counts: ConsecutiveCounts,
    policy: SlowHandshake,
    /// Latency of the handshake that made the upstream unhealthy.
    last: Duration,
}

impl HealthEvaluator for SlowHandshakeEvaluator {
    fn observe(&mut self, event: &HealthEvent) {
        let (HealthEventKind::ProbePassed { latency } | HealthEventKind::Accepted { latency }) =
            event.kind
        else {
            return;
        };
        let signal = match self.policy.signals.read(&event.kind) {
            EventOutcome::Good if latency > self.policy.limit => EventOutcome::Bad,
            signal => signal,
        };
        if self.counts.signal(event.kind.source(), signal) {
            self.last = latency;
        }
    }

    fn verdict(&mut self, _now: Instant) -> Verdict {
        self.counts.verdict()
    }

    fn cause(&self) -> Cow<'_, str> {
        let strikes = counted(self.counts.fails().into(), "consecutive handshake");
        let (limit, last) = (self.policy.limit, self.last);
        format!("{strikes} slower than {limit:?}, the last took {last:?}").into()
    }

    fn recovers_by_probes(&self) -> bool {
        self.policy.signals.count_probes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::health::testing::{at, connect_failed, verdict_after};

    fn accepted(millis: u64) -> HealthEventKind {
        let latency = Duration::from_millis(millis);
        HealthEventKind::Accepted { latency }
    }

    #[test]
    fn strikes_are_consecutive_and_a_quick_one_clears_them() {
        let mut evaluator = SlowHandshake::above(Duration::from_millis(100))
            .strikes(2)
            .evaluator();
        for (millis, expected) in [
            (101, Verdict::Healthy),
            (100, Verdict::Healthy),
            (101, Verdict::Healthy),
            (250, Verdict::Unhealthy),
            (101, Verdict::Unhealthy),
            (1, Verdict::Healthy),
        ] {
            assert_eq!(
                verdict_after(&mut *evaluator, at(0), accepted(millis)),
                expected
            );
        }
        let cause = "2 consecutive handshakes slower than 100ms, the last took 250ms";
        assert_eq!(evaluator.cause(), cause);
    }

    #[test]
    fn failures_do_not_count() {
        let mut evaluator = SlowHandshake::above(Duration::ZERO).strikes(1).evaluator();
        let verdict = verdict_after(&mut *evaluator, at(0), connect_failed());
        assert_eq!(verdict, Verdict::Healthy);
    }

    #[test]
    fn quick_probes_clear_the_strikes_only_if_they_are_counted() {
        let policy = || SlowHandshake::above(Duration::ZERO);
        for (counted, recovers) in [
            (EventFilter::all(), true),
            (EventFilter::handshakes(), false),
        ] {
            let evaluator = policy().counting(counted).evaluator();
            assert_eq!(evaluator.recovers_by_probes(), recovers);
        }
    }
}

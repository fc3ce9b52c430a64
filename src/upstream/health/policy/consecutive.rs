//! Health policy by consecutive failures.

use std::borrow::Cow;

use tokio::time::Instant;

use super::{
    consecutive_counts::ConsecutiveCounts,
    health_policy::{HealthEvaluator, HealthPolicy, Verdict},
    plural::counted,
};
use crate::upstream::health::{event::HealthEvent, event_filter::EventFilter};

/// Health policy: unhealthy after a number of consecutive failures, healthy after a number of
/// consecutive passes.
///
/// One pass resets the count of failures, one failure the count of passes. Probes, handshakes and
/// tunnels each have their own count of failures, so that a failing health endpoint is not outvoted
/// by successful clients. Passes count from any source.
///
/// A row has no bound in time, as in Envoy and HAProxy: an upstream without a success between two
/// failures has not recovered. Failures of clients that lie far apart eject no upstream for
/// that reason, as a verdict on their news needs [three clients within a
/// minute](crate::health); [`MaxFails`](super::MaxFails) has a bound of its own.
///
/// # Defaults
///
/// | method | default | unit | why | Envoy | HAProxy |
/// |---|---|---|---|---|---|
/// | [`fails`](Self::fails) | 3 | failures | one lost packet is not an outage | `unhealthy_threshold` | `fall` |
/// | [`passes`](Self::passes) | 2 | passes | one pass may be luck | `healthy_threshold` | `rise` |
/// | [`counting`](Self::counting) | [`EventFilter::probes`] | | clients' failures may be the clients' | | |
///
/// # Examples
///
/// ```
/// use wsplice::health::{Consecutive, EventFilter};
///
/// let policy = Consecutive::new().fails(5).passes(1).counting(EventFilter::all());
/// # let _ = policy;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Consecutive {
    fails: u32,
    passes: u32,
    signals: EventFilter,
}

impl Consecutive {
    /// Returns a policy with the defaults above.
    pub const fn new() -> Self {
        Self {
            fails: 3,
            passes: 2,
            signals: EventFilter::probes(),
        }
    }

    /// Sets the number of consecutive failures after which an upstream is unhealthy; 0 counts as 1.
    pub const fn fails(mut self, fails: u32) -> Self {
        self.fails = fails;
        self
    }

    /// Sets the number of consecutive passes after which it is healthy again; 0 counts as 1.
    pub const fn passes(mut self, passes: u32) -> Self {
        self.passes = passes;
        self
    }

    /// Sets the events that count. Without a probe, use [`EventFilter::handshakes`] or
    /// [`EventFilter::passive`].
    pub const fn counting(mut self, signals: EventFilter) -> Self {
        self.signals = signals;
        self
    }
}

impl Default for Consecutive {
    fn default() -> Self {
        Self::new()
    }
}

impl HealthPolicy for Consecutive {
    fn evaluator(&self) -> Box<dyn HealthEvaluator> {
        Box::new(ConsecutiveEvaluator {
            counts: ConsecutiveCounts::new(self.fails, self.passes),
            signals: self.signals,
            cause: String::new(),
        })
    }
}

#[derive(Debug)]
struct ConsecutiveEvaluator {
    counts: ConsecutiveCounts,
    signals: EventFilter,
    cause: String,
}

impl HealthEvaluator for ConsecutiveEvaluator {
    fn observe(&mut self, event: &HealthEvent) {
        let (source, kind) = (event.kind.source(), &event.kind);
        if self.counts.signal(source, self.signals.read(kind)) {
            let fails = counted(
                self.counts.fails().into(),
                &format!("consecutive {}", source.failure()),
            );
            self.cause = format!("{fails}: {kind}");
        }
    }

    fn verdict(&mut self, _now: Instant) -> Verdict {
        self.counts.verdict()
    }

    fn cause(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.cause)
    }

    fn recovers_by_probes(&self) -> bool {
        self.signals.count_probes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::health::testing::{
        accepted, at, connect_failed, probe_failed, probe_passed, verdict_after,
    };

    #[test]
    fn fail_pass_fail_pass_fail_is_not_three_in_a_row() {
        let mut evaluator = Consecutive::new().fails(3).evaluator();
        for _ in 0..50 {
            let verdict = verdict_after(&mut *evaluator, at(0), probe_failed());
            assert_eq!(verdict, Verdict::Healthy);
            verdict_after(&mut *evaluator, at(0), probe_failed());
            verdict_after(&mut *evaluator, at(0), probe_passed());
        }
    }

    #[test]
    fn three_failures_are_reported_with_the_last_reason() {
        let mut evaluator = Consecutive::new().fails(3).passes(2).evaluator();
        verdict_after(&mut *evaluator, at(0), probe_failed());
        verdict_after(&mut *evaluator, at(1), probe_failed());
        let third = verdict_after(&mut *evaluator, at(2), probe_failed());
        assert_eq!(third, Verdict::Unhealthy);
        let cause = "3 consecutive probe failures: handshake timed out after 5s";
        assert_eq!(evaluator.cause(), cause);
        assert_eq!(evaluator.changes_at(), None);
    }

    #[test]
    fn passes_are_in_a_row_too() {
        let mut evaluator = Consecutive::new().fails(1).passes(2).evaluator();
        let events = [
            probe_failed(),
            probe_passed(),
            probe_failed(),
            probe_passed(),
        ];
        for kind in events {
            assert_eq!(
                verdict_after(&mut *evaluator, at(0), kind),
                Verdict::Unhealthy
            );
        }
        let second = verdict_after(&mut *evaluator, at(0), probe_passed());
        assert_eq!(second, Verdict::Healthy);
    }

    #[test]
    fn successful_clients_do_not_outvote_a_failing_probe() {
        let policy = Consecutive::new().fails(3).counting(EventFilter::all());
        let mut evaluator = policy.evaluator();
        for expected in [Verdict::Healthy, Verdict::Healthy, Verdict::Unhealthy] {
            verdict_after(&mut *evaluator, at(0), accepted());
            assert_eq!(
                verdict_after(&mut *evaluator, at(0), probe_failed()),
                expected
            );
        }
    }

    #[test]
    fn ignored_events_change_nothing() {
        let mut evaluator = Consecutive::new().fails(1).evaluator();
        let verdict = verdict_after(&mut *evaluator, at(0), connect_failed());
        assert_eq!(verdict, Verdict::Healthy);
        assert!(evaluator.recovers_by_probes());
        let passive = Consecutive::new().counting(EventFilter::passive());
        assert!(!passive.evaluator().recovers_by_probes());
    }
}

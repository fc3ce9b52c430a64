//! Ejections, and the half-open time after them.

use super::*;

/// The policy has five lines: it never forgets a failure, and does not define `recovers_by_probes`.
#[test]
fn a_policy_that_never_changes_its_verdict_recovers_half_open() {
    #[derive(Clone, Debug, Default)]
    struct AnyFailure(bool);
    impl HealthEvaluator for AnyFailure {
        fn observe(&mut self, event: &HealthEvent) {
            self.0 |= event.kind.outcome() == EventOutcome::Bad;
        }
        fn verdict(&mut self, _now: Instant) -> Verdict {
            if self.0 {
                Verdict::Unhealthy
            } else {
                Verdict::Healthy
            }
        }
    }
    for mut tracker in [
        probed(AnyFailure::default()),
        HealthTracker::new(
            Arc::new(AnyFailure::default()),
            Ejection::new().jitter(0.0),
            Probed::No,
            secs(0),
        ),
    ] {
        see(&mut tracker, secs(1), connect_failed());
        let after = tracker.tick(secs(11), 0.5);
        assert_eq!(after, Some(HealthTransition::HalfOpen));
    }
}

#[test]
fn an_evaluator_that_wrongly_relies_on_probes_recovers_after_the_longest_ejection() {
    #[derive(Clone, Debug)]
    struct Never;
    impl HealthEvaluator for Never {
        fn observe(&mut self, _event: &HealthEvent) {}
        fn verdict(&mut self, _now: Instant) -> Verdict {
            Verdict::Unhealthy
        }
        fn recovers_by_probes(&self) -> bool {
            true
        }
    }
    let mut tracker = probed(Never);
    assert!(tracker.tick(secs(1), 0.5).is_some());
    assert_eq!(see(&mut tracker, secs(2), probe_passed()), None);
    assert_eq!(tracker.changes_at(), Some(secs(302)));
    assert_eq!(
        tracker.tick(secs(302), 0.5),
        Some(HealthTransition::HalfOpen)
    );
}

#[test]
fn an_evaluator_keeps_an_upstream_out_until_it_forgets_but_not_beyond_the_longest_ejection() {
    #[derive(Clone, Debug)]
    struct Forgets(Instant);
    impl HealthEvaluator for Forgets {
        fn observe(&mut self, _event: &HealthEvent) {}
        fn verdict(&mut self, _now: Instant) -> Verdict {
            Verdict::Unhealthy
        }
        fn changes_at(&self) -> Option<Instant> {
            Some(self.0)
        }
    }
    for (forgets, half_open) in [(11, 11), (50, 50), (9_999, 301)] {
        let policy = Arc::new(Forgets(secs(forgets)));
        let ejection = Ejection::new().jitter(0.0);
        let mut tracker = HealthTracker::new(policy, ejection, Probed::No, secs(0));
        assert_eq!(until(tracker.tick(secs(1), 0.5)), Some(secs(11)));
        let half_open = secs(half_open);
        assert_eq!(
            tracker.tick(half_open - Duration::from_millis(1), 0.5),
            None
        );
        let rose = tracker.tick(half_open, 0.5);
        assert_eq!(rose, Some(HealthTransition::HalfOpen));
    }
}

#[test]
fn without_probes_an_upstream_is_ejected_then_half_open_and_one_failure_ejects_it_for_longer() {
    let mut tracker = passive(2);
    let fell = see(&mut tracker, secs(1), connect_failed());
    assert_eq!(
        until(fell),
        Some(secs(11)),
        "a failed connect ejects at once"
    );
    assert_eq!(see(&mut tracker, secs(1), connect_failed()), None);
    assert_eq!(tracker.changes_at(), Some(secs(11)));
    assert_eq!(tracker.tick(at(10_999), 0.5), None);
    assert_eq!(
        tracker.tick(secs(11), 0.5),
        Some(HealthTransition::HalfOpen)
    );
    assert!(tracker.state().is_usable());

    let again = see(&mut tracker, secs(12), connect_failed());
    let shown = again.as_ref().map(ToString::to_string);
    let expected = "unhealthy: failed while half-open: the upstream could not be connected";
    assert_eq!(shown.as_deref(), Some(expected));
    assert_eq!(until(again), Some(secs(32)));
    assert_eq!(tracker.history.count(), 2);
}

#[test]
fn one_success_ends_half_open() {
    let mut tracker = passive(1);
    see(&mut tracker, secs(0), connect_failed());
    tracker.tick(secs(10), 0.5);
    let passed = see(&mut tracker, secs(11), accepted());
    assert_eq!(passed, Some(HealthTransition::Healthy));
    let mut lenient = passive(3);
    for _ in 0..3 {
        see(&mut lenient, secs(0), broken());
    }
    lenient.tick(secs(10), 0.5);
    see(&mut lenient, secs(11), accepted());
    let one = see(&mut lenient, secs(12), broken());
    assert_eq!(one, None, "a fresh evaluator counts from zero");
}

#[test]
fn a_handshake_that_hung_before_the_ejection_does_not_end_half_open() {
    let mut tracker = passive(1);
    see(&mut tracker, secs(1), connect_failed());
    tracker.tick(secs(11), 0.5);
    let stale = HealthEvent::new(secs(11), connect_failed()).started_at(at(999));
    assert_eq!(tracker.observe(&stale, 0.5), None);
    assert!(matches!(tracker.state(), HealthState::HalfOpen { .. }));
    let fresh = HealthEvent::new(secs(12), connect_failed()).started_at(secs(11));
    assert!(tracker.observe(&fresh, 0.5).is_some());
}

#[test]
fn an_ejection_lasts_while_its_evaluator_still_counts() {
    let policy = MaxFails::new(1, Duration::from_secs(30));
    let ejection = Ejection::new().jitter(0.0);
    let mut tracker = HealthTracker::new(Arc::new(policy), ejection, Probed::No, secs(0));
    let fell = see(&mut tracker, secs(0), connect_failed());
    assert_eq!(until(fell), Some(secs(10)));
    assert_eq!(tracker.tick(secs(10), 0.5), None);
    assert_eq!(tracker.changes_at(), Some(secs(30)));
    assert_eq!(
        tracker.tick(secs(30), 0.5),
        Some(HealthTransition::HalfOpen)
    );
}

#[test]
fn with_a_base_of_zero_the_evaluator_alone_decides_how_long() {
    let policy = MaxFails::new(1, Duration::from_secs(3));
    let ejection = Ejection::new().base(Duration::ZERO);
    let mut tracker = HealthTracker::new(Arc::new(policy), ejection, Probed::No, secs(0));
    see(&mut tracker, secs(0), connect_failed());
    tracker.tick(at(1), 0.5);
    assert_eq!(tracker.changes_at(), Some(secs(3)));
    assert_eq!(tracker.tick(secs(3), 0.5), Some(HealthTransition::HalfOpen));
}

#[test]
fn only_a_handshake_ends_half_open() {
    let mut tracker = passive(1);
    see(&mut tracker, secs(0), connect_failed());
    tracker.tick(secs(10), 0.5);
    let lifetime = Duration::ZERO;
    for kind in [
        HealthEventKind::TunnelLost { lifetime },
        probe_failed(),
        probe_passed(),
    ] {
        assert_eq!(see(&mut tracker, secs(11), kind), None);
    }
    let passed = see(&mut tracker, secs(11), accepted());
    assert_eq!(passed, Some(HealthTransition::Healthy));
}

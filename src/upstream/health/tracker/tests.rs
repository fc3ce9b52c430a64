use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::upstream::health::{
    AnyOf, Consecutive, EventOrigin, HealthEventKind, MaxFails, Passive,
    testing::{accepted, at, connect_failed, probe_failed, probe_passed, secs},
};

fn passive(fails: u32) -> HealthTracker {
    let ejection = Ejection::new().jitter(0.0);
    let policy = Passive::default().fails(fails);
    HealthTracker::new(Arc::new(policy), ejection, Probed::No, secs(0))
}

fn probed(policy: impl HealthPolicy + 'static) -> HealthTracker {
    let ejection = Ejection::new().jitter(0.0);
    HealthTracker::new(Arc::new(policy), ejection, Probed::Yes, secs(0))
}

fn see(
    tracker: &mut HealthTracker,
    at: Instant,
    kind: HealthEventKind,
) -> Option<HealthTransition> {
    tracker.observe(&HealthEvent::new(at, kind), 0.5)
}

fn broken() -> HealthEventKind {
    HealthEventKind::HandshakeFailed(crate::error::ErrorKind::NoResponse)
}

/// A client's failed handshake.
fn broke(at: Instant, client: &str, path: &str) -> HealthEvent {
    let client = client.parse().ok();
    HealthEvent::new(at, broken()).from(EventOrigin::new(client, path))
}

#[test]
fn one_client_on_one_path_ejects_no_upstream_and_three_clients_do() {
    let mut tracker = passive(1);
    for second in 0..30 {
        let news = broke(secs(second), "10.0.0.1", "/crash");
        assert_eq!(tracker.observe(&news, 0.5), None);
        assert_eq!(tracker.doubts_until(secs(second)), None);
    }
    let other_path = broke(secs(30), "10.0.0.1", "/other");
    assert_eq!(tracker.observe(&other_path, 0.5), None);
    assert_eq!(tracker.doubts_until(secs(30)), Some(secs(40)));
    let second = broke(secs(31), "10.0.0.2", "/crash");
    assert_eq!(tracker.observe(&second, 0.5), None);
    let third = broke(secs(32), "10.0.0.3", "/crash");
    assert!(tracker.observe(&third, 0.5).is_some());
    assert_eq!(tracker.ejected_by(), EjectedBy::Clients);
}

#[test]
fn clients_news_ejects_an_upstream_whose_probe_passes() {
    let policy = AnyOf::new()
        .with(Consecutive::new())
        .with(Passive::default().fails(3));
    let mut tracker = probed(policy);
    for (second, client) in [(1, "10.0.0.1"), (2, "10.0.0.2"), (3, "10.0.0.3")] {
        assert!(tracker.state().is_usable());
        see(&mut tracker, secs(second), probe_passed());
        tracker.observe(&broke(secs(second), client, "/"), 0.5);
    }
    assert_eq!(
        see(&mut tracker, secs(4), probe_passed()),
        None,
        "{tracker:?}"
    );
    assert_eq!(tracker.changes_at(), Some(secs(13)));
    let after = tracker.tick(secs(13), 0.5);
    assert_eq!(after, Some(HealthTransition::HalfOpen));
    // The probe still passes, and the client's failure counts nevertheless.
    see(&mut tracker, secs(14), probe_passed());
    let again = tracker.observe(&broke(secs(15), "10.0.0.1", "/"), 0.5);
    assert_eq!(until(again), Some(secs(35)));
    assert_eq!(see(&mut tracker, secs(16), probe_passed()), None);
}

#[test]
fn one_client_alone_does_not_keep_an_upstream_ejected() {
    let mut tracker = passive(3);
    for (second, client) in [(1, "10.0.0.1"), (2, "10.0.0.2"), (3, "10.0.0.3")] {
        tracker.observe(&broke(secs(second), client, "/"), 0.5);
    }
    assert_eq!(
        tracker.tick(secs(13), 0.5),
        Some(HealthTransition::HalfOpen)
    );
    let attack = |at| broke(secs(at), "10.0.0.66", "/crash");
    assert_eq!(until(tracker.observe(&attack(14), 0.5)), Some(secs(34)));
    assert_eq!(
        tracker.tick(secs(34), 0.5),
        Some(HealthTransition::HalfOpen)
    );
    for second in 35..40 {
        assert_eq!(tracker.observe(&attack(second), 0.5), None);
    }
    // Another client's failure counts, and so does a success.
    let other = broke(secs(41), "10.0.0.1", "/");
    assert_eq!(until(tracker.observe(&other, 0.5)), Some(secs(71)));
    assert_eq!(
        tracker.tick(secs(71), 0.5),
        Some(HealthTransition::HalfOpen)
    );
    let healthy = see(&mut tracker, secs(72), accepted());
    assert_eq!(healthy, Some(HealthTransition::Healthy));
}

#[test]
fn a_failed_connect_ejects_a_probed_upstream_until_its_probe_connects() {
    let policy = AnyOf::new()
        .with(Consecutive::new())
        .with(Passive::default());
    let mut tracker = probed(policy);
    let fell = see(&mut tracker, secs(1), connect_failed());
    assert_eq!(until(fell), None);
    assert_eq!(tracker.ejected_by(), EjectedBy::Failure);
    let rose = see(&mut tracker, secs(3), probe_passed());
    assert_eq!(rose, Some(HealthTransition::Healthy));
}

/// A policy in five lines, which forgets nothing and says nothing of probes.
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
fn the_operator_overrides_events_until_they_are_given_back_control() {
    let mut tracker = passive(1);
    let fell = tracker.set_control(HealthControl::ForcedUnhealthy, secs(1));
    assert_eq!(until(fell), None);
    assert_eq!(tracker.tick(secs(9_999), 0.5), None);
    assert_eq!(tracker.changes_at(), None);
    let rose = tracker.set_control(HealthControl::ForcedHealthy, secs(10_000));
    assert_eq!(rose, Some(HealthTransition::Healthy));
    assert_eq!(see(&mut tracker, secs(10_001), connect_failed()), None);
    assert_eq!(tracker.set_control(HealthControl::Auto, secs(10_002)), None);
    assert!(see(&mut tracker, secs(10_003), connect_failed()).is_some());
}

#[test]
fn an_upstream_that_starts_unhealthy_waits_for_its_first_pass() {
    let mut tracker = probed(Consecutive::new()).until_first_pass(secs(0));
    assert!(!tracker.state().is_usable());
    assert_eq!(tracker.tick(secs(500), 0.5), None);
    let rose = see(&mut tracker, secs(501), probe_passed());
    assert_eq!(rose, Some(HealthTransition::Healthy));
    let unprobed = passive(1).until_first_pass(secs(0));
    assert!(unprobed.state().is_usable());
}

fn until(transition: Option<HealthTransition>) -> Option<Instant> {
    match transition {
        Some(HealthTransition::Unhealthy { until, .. }) => until,
        other => panic!("not unhealthy but {other:?}"),
    }
}

#[test]
fn probes_alone_bring_down_and_back() {
    let mut tracker = probed(Consecutive::new().fails(2).passes(2));
    assert_eq!(see(&mut tracker, secs(1), probe_failed()), None);
    let fell = see(&mut tracker, secs(2), probe_failed());
    let cause = "2 consecutive probe failures: handshake timed out after 5s".into();
    assert_eq!(
        fell,
        Some(HealthTransition::Unhealthy { cause, until: None })
    );
    assert_eq!(tracker.tick(secs(9_999), 0.5), None);
    assert_eq!(tracker.changes_at(), None);
    assert_eq!(see(&mut tracker, secs(10_000), probe_passed()), None);
    let rose = see(&mut tracker, secs(10_001), probe_passed());
    assert_eq!(rose, Some(HealthTransition::Healthy));
}

/// Two events of any kind are too many, for no cause of its own.
#[derive(Clone, Debug, Default)]
struct Impatient(u32);

impl HealthEvaluator for Impatient {
    fn observe(&mut self, _: &HealthEvent) {
        self.0 += 1;
    }

    fn verdict(&mut self, _: Instant) -> Verdict {
        match self.0 {
            0..2 => Verdict::Healthy,
            _ => Verdict::Unhealthy,
        }
    }
}

#[test]
fn the_cause_of_a_policy_of_the_host_does_not_hide_the_error_of_the_probe() {
    let fall = |events: [HealthEventKind; 2]| {
        let mut tracker = probed(Impatient::default());
        let [first, second] = events;
        assert_eq!(see(&mut tracker, secs(1), first), None);
        see(&mut tracker, secs(2), second).map(|fell| fell.to_string())
    };
    let timed_out =
        "unhealthy: judged unhealthy; the last probe failed: handshake timed out after 5s";
    let fell = fall([probe_failed(), probe_failed()]);
    assert_eq!(fell.as_deref(), Some(timed_out));
    // A probe that has passed since has nothing to add.
    let fell = fall([probe_failed(), probe_passed()]);
    assert_eq!(fell.as_deref(), Some("unhealthy: judged unhealthy"));
}

#[test]
fn probes_readmit_a_flapping_upstream_later_each_time() {
    let mut tracker = probed(Consecutive::new().fails(1).passes(1));
    let mut now = 0;
    let mut out = Vec::new();
    for _ in 0..4 {
        now += 1;
        see(&mut tracker, secs(now), probe_failed());
        let fell = now;
        while !tracker.state().is_usable() {
            now += 1;
            see(&mut tracker, secs(now), probe_passed());
        }
        out.push(now - fell);
    }
    assert_eq!(out, [1, 10, 20, 30]);
    // Health reduces the count, by one each minute.
    now += 10 * 60;
    see(&mut tracker, secs(now), probe_failed());
    let rose = see(&mut tracker, secs(now + 1), probe_passed());
    assert_eq!(rose, Some(HealthTransition::Healthy));
}

#[test]
fn a_held_upstream_recovers_in_time_by_its_earlier_probes() {
    let mut tracker = probed(Consecutive::new().fails(1).passes(1));
    see(&mut tracker, secs(1), probe_failed());
    see(&mut tracker, secs(2), probe_passed());
    see(&mut tracker, secs(3), probe_failed());
    assert_eq!(tracker.changes_at(), Some(secs(13)));
    assert_eq!(see(&mut tracker, secs(4), probe_passed()), None);
    assert_eq!(tracker.tick(at(12_999), 0.5), None);
    assert_eq!(tracker.tick(secs(13), 0.5), Some(HealthTransition::Healthy));
    assert_eq!(tracker.changes_at(), None);
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
fn old_tunnels_do_not_make_a_recovered_upstream_unhealthy() {
    let all = Consecutive::new().fails(1).passes(1);
    let mut tracker = probed(all.counting(crate::upstream::health::EventFilter::all()));
    see(&mut tracker, secs(100), probe_failed());
    let rose = see(&mut tracker, secs(110), probe_passed());
    assert_eq!(rose, Some(HealthTransition::Healthy));
    let lost = |secs| HealthEventKind::TunnelLost {
        lifetime: Duration::from_secs(secs),
    };
    assert_eq!(see(&mut tracker, secs(120), lost(30)), None);
    assert!(see(&mut tracker, secs(120), lost(5)).is_some());
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
fn an_evaluator_that_ignores_probes_does_not_wait_for_probes() {
    let deaf = Consecutive::new()
        .fails(1)
        .counting(crate::upstream::health::EventFilter::passive());
    let mut tracker = probed(AnyOf::new().with(deaf).with(Consecutive::new()));
    let fell = see(&mut tracker, secs(0), connect_failed());
    assert_eq!(until(fell), Some(secs(10)));
    assert_eq!(see(&mut tracker, secs(5), probe_passed()), None);
    assert_eq!(
        tracker.tick(secs(10), 0.5),
        Some(HealthTransition::HalfOpen)
    );
}

#[test]
fn an_outlier_is_ejected_despite_its_evaluator_and_becomes_half_open() {
    let mut tracker = probed(Consecutive::new().fails(3));
    let fell = tracker.eject("below the others", secs(1), 0.5);
    assert_eq!(until(fell), Some(secs(11)));
    assert_eq!(tracker.eject("again", secs(2), 0.5), None);
    assert_eq!(see(&mut tracker, secs(5), probe_passed()), None);
    assert_eq!(
        tracker.tick(secs(11), 0.5),
        Some(HealthTransition::HalfOpen)
    );
}

#[test]
fn an_outlier_whose_probes_fail_meanwhile_waits_for_its_probes() {
    let mut tracker = probed(Consecutive::new().fails(1).passes(1));
    tracker.eject("below the others", secs(1), 0.5);
    assert_eq!(see(&mut tracker, secs(5), probe_failed()), None);
    assert_eq!(tracker.tick(secs(11), 0.5), None);
    assert_eq!(tracker.changes_at(), None);
    let rose = see(&mut tracker, secs(20), probe_passed());
    assert_eq!(rose, Some(HealthTransition::Healthy));
}

#[test]
fn an_evaluator_that_announces_the_past_does_not_make_its_caller_spin() {
    #[derive(Clone, Debug)]
    struct PastAnnouncer;
    impl HealthEvaluator for PastAnnouncer {
        fn observe(&mut self, _event: &HealthEvent) {}
        fn verdict(&mut self, _now: Instant) -> Verdict {
            Verdict::Healthy
        }
        fn changes_at(&self) -> Option<Instant> {
            Some(secs(0))
        }
    }
    let mut tracker = probed(PastAnnouncer);
    assert_eq!(tracker.tick(secs(50), 0.5), None);
    assert!(tracker.changes_at() > Some(secs(50)));
}

fn kind() -> impl Strategy<Value = HealthEventKind> {
    prop_oneof![
        Just(connect_failed()),
        Just(accepted()),
        Just(probe_failed()),
        Just(probe_passed()),
        (0..60_u64).prop_map(|secs| HealthEventKind::TunnelLost {
            lifetime: Duration::from_secs(secs)
        }),
    ]
}

fn policy() -> impl Strategy<Value = Arc<dyn HealthPolicy>> {
    let policies: [Arc<dyn HealthPolicy>; 4] = [
        Arc::new(Passive::default().fails(2)),
        Arc::new(Consecutive::new().fails(2)),
        Arc::new(MaxFails::new(2, Duration::from_secs(30))),
        Arc::new(
            AnyOf::new()
                .with(Consecutive::new())
                .with(Passive::default().fails(2)),
        ),
    ];
    proptest::sample::select(policies.to_vec())
}

proptest! {
    #[test]
    fn transitions_alternate_and_no_upstream_is_lost_for_good(
        policy in policy(),
        is_probed: bool,
        steps in proptest::collection::vec((1..20_000_u64, kind()), 0..60),
    ) {
        let probed = if is_probed { Probed::Yes } else { Probed::No };
        let mut tracker = HealthTracker::new(policy, Ejection::new(), probed, secs(0));
        let (mut now, mut usable) = (0, true);
        let mut check = |transition: Option<HealthTransition>, tracker: &HealthTracker| {
            match transition {
                Some(HealthTransition::Unhealthy { .. }) => {
                    assert!(std::mem::replace(&mut usable, false), "it was unhealthy already");
                }
                Some(HealthTransition::HalfOpen) => {
                    assert!(!std::mem::replace(&mut usable, true), "it was usable already");
                }
                Some(HealthTransition::Healthy) => usable = true,
                None => {}
            }
            assert_eq!(tracker.state().is_usable(), usable);
        };
        for (millis, kind) in steps {
            now += millis;
            let ticked = tracker.tick(at(now), 0.5);
            check(ticked, &tracker);
            let told = see(&mut tracker, at(now), kind);
            check(told, &tracker);
        }
        // Time and passing probes always readmit.
        for _ in 0..100 {
            now += 10_000;
            tracker.tick(at(now), 0.5);
            see(&mut tracker, at(now), probe_passed());
        }
        prop_assert!(tracker.state().is_usable());
    }
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

#[test]
fn failures_in_a_row_that_lie_a_day_apart_eject_no_upstream() {
    const DAY: u64 = 86_400;
    let clients = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    let mut tracker = passive(5);
    for (day, client) in (0..20).zip(clients.iter().cycle()) {
        let news = broke(secs(day * DAY), client, "/ws");
        assert_eq!(tracker.observe(&news, 0.5), None, "day {day}");
    }
    // The row has no bound of its own, but one needs three clients within a minute.
    for (second, client) in (0..2).zip(clients) {
        let news = broke(secs(30 * DAY + second), client, "/ws");
        assert_eq!(tracker.observe(&news, 0.5), None);
    }
    let third = broke(secs(30 * DAY + 2), clients[2], "/ws");
    let transition = tracker.observe(&third, 0.5);
    assert!(matches!(
        transition,
        Some(HealthTransition::Unhealthy { .. })
    ));
}

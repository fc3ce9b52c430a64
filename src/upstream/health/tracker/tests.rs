use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::upstream::health::{
    AnyOf, Consecutive, EventOrigin, HealthEventKind, MaxFails, Passive,
    testing::{accepted, at, connect_failed, probe_failed, probe_passed, secs},
};

mod clients;
mod half_open;
mod probes;

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

fn until(transition: Option<HealthTransition>) -> Option<Instant> {
    match transition {
        Some(HealthTransition::Unhealthy { until, .. }) => until,
        other => panic!("not unhealthy but {other:?}"),
    }
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
    tracker.set_control(HealthControl::ForcedHealthy, secs(50));
    assert_eq!(tracker.changes_at(), None, "the operator decides");
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
            let observed = see(&mut tracker, at(now), kind);
            check(observed, &tracker);
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

//! Probes beside clients' news, and outliers beside probes.

use super::*;

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

/// Policy that is unhealthy after two events of any kind, without a cause of its own.
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
fn a_held_upstream_whose_probes_still_fail_waits_for_nothing_but_its_probes() {
    let mut tracker = probed(Consecutive::new().fails(1).passes(1));
    see(&mut tracker, secs(1), probe_failed());
    see(&mut tracker, secs(2), probe_passed());
    see(&mut tracker, secs(3), probe_failed());
    assert_eq!(tracker.tick(secs(13), 0.5), None);
    assert_eq!(tracker.changes_at(), None);
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

//! News from clients: how many of them, on how many paths, eject an upstream.

use super::*;

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

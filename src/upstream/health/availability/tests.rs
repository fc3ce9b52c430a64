use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::upstream::health::{EjectedBy, testing::secs};

const UP: UpstreamHealth<'_> = UpstreamHealth::healthy();

fn down(since: u64) -> UpstreamHealth<'static> {
    UpstreamHealth::unhealthy(secs(since))
}

fn admitted(policy: &dyn Availability, pool: &[UpstreamHealth<'_>]) -> Vec<usize> {
    policy.admit(pool).iter().collect()
}

#[test]
fn failing_closed_uses_the_healthy_ones_and_no_other() {
    assert_eq!(admitted(&FailClosed, &[down(0), UP, down(0)]), [1]);
    assert!(FailClosed.admit(&[down(0)]).is_empty());
}

#[test]
fn by_default_half_may_be_left_out_on_clients_news_and_certain_failures_are_not_limited() {
    let by = |since, by| down(since).by(by);
    let doubtful = |since| by(since, EjectedBy::Clients);
    let certain = |since| by(since, EjectedBy::Failure);
    for (name, pool, used) in [
        ("one of two", vec![UP, doubtful(1)], vec![0]),
        (
            "one of three",
            vec![doubtful(2), doubtful(1), UP],
            vec![0, 2],
        ),
        (
            "two of four",
            vec![doubtful(3), doubtful(1), doubtful(2), UP],
            vec![0, 3],
        ),
        (
            "certain",
            vec![certain(1), certain(1), certain(1), UP],
            vec![3],
        ),
        ("none healthy", vec![certain(1), doubtful(1)], vec![0, 1]),
        ("the only one", vec![certain(1)], vec![0]),
        (
            "healthy but drained",
            vec![UP.draining(), doubtful(1)],
            vec![0, 1],
        ),
        (
            "drained ones don't count",
            vec![UP, doubtful(2), doubtful(1), UP.draining()],
            vec![0, 1, 3],
        ),
    ] {
        assert_eq!(admitted(&Standard, &pool), used, "{name}");
    }
}

#[test]
fn the_last_upstream_to_become_unhealthy_stays() {
    assert_eq!(admitted(&KeepLast, &[down(1), down(3), down(2)]), [1]);
    assert_eq!(admitted(&KeepLast, &[down(3), down(3)]), [0]);
    assert_eq!(admitted(&KeepLast, &[down(9).weight(0), down(3)]), [1]);
    assert_eq!(admitted(&KeepLast, &[down(9), UP]), [1]);
    let drained = [UP.draining(), down(1)];
    assert_eq!(admitted(&KeepLast, &drained), [0, 1]);
    let weightless = [UP.weight(0), down(1)];
    assert_eq!(admitted(&KeepLast, &weightless), [0, 1]);
    assert!(admitted(&KeepLast, &[]).is_empty());
}

#[test]
fn panic_counts_weight() {
    let heavy = UP.weight(3);
    assert_eq!(
        admitted(&PanicThreshold::below(0.5), &[heavy, down(0), down(0)]),
        [0]
    );
    assert_eq!(
        admitted(&PanicThreshold::below(0.5), &[UP, down(0)]),
        [0],
        "at the threshold"
    );
    let fallen = down(0).weight(3);
    assert_eq!(
        admitted(&PanicThreshold::below(0.5), &[fallen, UP, UP]),
        [0, 1, 2]
    );
    let weightless = [UP.weight(0), down(0).weight(0), down(0).weight(0)];
    assert_eq!(
        admitted(&PanicThreshold::below(0.5), &weightless),
        [0, 1, 2]
    );
    assert!(admitted(&PanicThreshold::below(0.5), &[]).is_empty());
}

#[test]
fn the_longest_unhealthy_are_ejected_up_to_the_percentage() {
    let pool = [down(4), down(2), UP, down(3), down(1)];
    assert_eq!(admitted(&MaxEjectionPercent::percent(40), &pool), [0, 2, 3]);
    assert_eq!(admitted(&MaxEjectionPercent::percent(100), &pool), [2]);
    assert_eq!(
        admitted(&MaxEjectionPercent::percent(0), &pool),
        [0, 1, 2, 3, 4]
    );
    assert_eq!(
        admitted(&MaxEjectionPercent::percent(1), &pool),
        [0, 1, 2, 3]
    );
    assert_eq!(admitted(&MaxEjectionPercent::percent(50), &[down(0)]), [0]);
}

#[test]
fn either_of_two_is_enough() {
    let policy = PanicThreshold::below(0.1)
        .or(KeepLast)
        .or(MaxEjectionPercent::percent(50));
    let pool = [down(2), down(1), down(0), UP];
    assert_eq!(admitted(&policy, &pool), [0, 3]);
    assert_eq!(admitted(&FailClosed.or(KeepLast), &[down(0)]), [0]);
}

#[test]
fn while_all_are_healthy_no_policy_of_ours_looks_at_each() {
    let all = HealthCounts::of(&[UP; 4]);
    let policies: [Arc<dyn Availability>; 6] = [
        Arc::new(FailClosed),
        Arc::new(KeepLast),
        Arc::new(PanicThreshold::below(0.5)),
        Arc::new(MaxEjectionPercent::percent(50)),
        Arc::new(Standard),
        Arc::new(Standard.or(KeepLast)),
    ];
    for policy in policies {
        assert!(policy.uses_the_healthy(&all), "{:?}", policy.admit(&[UP]));
        assert!(Arc::new(policy).uses_the_healthy(&all));
    }
    let doubtful = down(1).by(EjectedBy::Clients);
    let few = HealthCounts::of(&[UP, UP, UP, UP, UP, doubtful, doubtful, doubtful]);
    assert!(Standard.uses_the_healthy(&few), "three of eight");
}

#[test]
fn a_policy_of_the_host_looks_at_each_by_default() {
    struct Everyone;
    impl Availability for Everyone {
        fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
            Admitted::all(pool)
        }
    }
    assert!(!Everyone.uses_the_healthy(&HealthCounts::of(&[UP])));
    let policy: &dyn Availability = &Everyone;
    assert_eq!(format!("{policy:?}"), "Availability");
}

#[test]
fn counts_know_the_share_of_the_healthy_and_whether_a_last_resort_is_left() {
    let forced = down(1).by(EjectedBy::Operator);
    for (pool, share, last_resort) in [
        (&[][..], None, false),
        (&[UP.weight(0)], None, false),
        (&[UP.weight(3), down(1)], Some(0.75), true),
        (&[UP, forced], Some(0.5), false),
        (&[down(1), forced], Some(0.0), true),
        (&[UP, UP], Some(1.0), false),
    ] {
        let counts = HealthCounts::of(pool);
        assert_eq!(counts.healthy_share(), share, "{pool:?}");
        assert_eq!(counts.has_last_resort(), last_resort, "{pool:?}");
    }
}

#[test]
fn the_admitted_are_those_that_were_added() {
    let mut admitted = Admitted::healthy(&[UP, down(1), down(1)]);
    admitted.insert(2);
    admitted.insert(9);
    let contained = [0, 1, 2, 3, 9].map(|index| admitted.contains(index));
    assert_eq!(contained, [true, false, true, false, false]);
}

proptest! {
    #[test]
    fn healthy_ones_are_used_by_every_policy_and_none_is_invented(
        rows in proptest::collection::vec((proptest::option::of(0..9_u64), 0..4_u32), 0..12),
        share in 0.0..1.0_f64,
        percent: u8,
    ) {
        let row = |(since, weight): &(Option<u64>, u32)| match since {
            Some(since) => down(*since).weight(*weight),
            None => UP.weight(*weight),
        };
        let pool: Vec<_> = rows.iter().map(row).collect();
        let policies: [&dyn Availability; 4] =
            [&FailClosed, &KeepLast, &PanicThreshold::below(share), &MaxEjectionPercent::percent(percent)];
        for policy in policies {
            let admitted = policy.admit(&pool);
            for (index, row) in pool.iter().enumerate() {
                prop_assert!(!row.is_healthy() || admitted.contains(index), "{policy:?}");
            }
            prop_assert!(admitted.iter().all(|index| index < pool.len()));
        }
        prop_assert!(pool.is_empty() || !KeepLast.admit(&pool).is_empty());
        let out = pool.len() - MaxEjectionPercent::percent(percent).admit(&pool).len();
        prop_assert!(out <= (pool.len() * usize::from(percent) / 100).max(1));
    }
}

use super::*;
use crate::upstream::discovery::testing::upstreams;

fn member(name: &str, level: u32, weight: u32) -> Arc<Member> {
    let upstream = Upstream::new(&format!("ws://{name}")).unwrap();
    Arc::new(Member::new(upstream.priority(level).weight(weight)))
}

#[test]
fn a_tier_gets_what_the_usable_part_of_those_before_it_cannot_take() {
    // (usable, all) of the levels 0, 1 and 2, and their shares.
    let table = [
        ([(10, 10), (10, 10), (0, 0)], [1.0, 0.0, 0.0]),
        ([(8, 10), (10, 10), (0, 0)], [1.0, 0.0, 0.0]),
        ([(5, 10), (10, 10), (0, 0)], [0.7, 0.3, 0.0]),
        ([(0, 10), (10, 10), (0, 0)], [0.0, 1.0, 0.0]),
        ([(5, 10), (1, 10), (10, 10)], [0.7, 0.14, 0.16]),
        ([(1, 10), (1, 10), (0, 10)], [0.5, 0.5, 0.0]),
        ([(1, 10), (0, 10), (0, 10)], [1.0, 0.0, 0.0]),
    ];
    for (levels, shares) in table {
        let mut members = Vec::new();
        for (level, (up, all)) in (0..).zip(levels) {
            if up > 0 {
                members.push(member(&format!("up-{level}"), level, up));
                members[members.len() - 1].set_used(true);
            }
            members.push(member(&format!("down-{level}"), level, all - up));
        }
        let set = MemberSet::new(members.clone().into(), true);
        let got: Vec<_> = set.tiers.iter().map(|tier| tier.share).collect();
        for (got, wanted) in got.iter().zip(&shares) {
            assert!(
                (got - wanted).abs() < 1e-9,
                "{levels:?}: {got}, not {wanted}"
            );
        }
    }
}

#[test]
fn a_change_of_use_is_as_if_the_set_were_made_anew() {
    fastrand::seed(7);
    let members: Vec<_> = (0..30)
        .map(|index| member(&format!("u{index}"), index % 3, index % 4))
        .collect();
    let mut set = MemberSet::new(members.clone().into(), true);
    for _ in 0..100 {
        let changed: Vec<_> = (0..fastrand::usize(..9))
            .map(|_| Arc::clone(&members[fastrand::usize(..members.len())]))
            .collect();
        for member in &changed {
            member.set_used(fastrand::bool());
        }
        set = set.with_changed_use(&changed, true);
        let anew = MemberSet::new(members.clone().into(), true);
        for (tier, anew) in set.tiers.iter().zip(&anew.tiers) {
            assert_eq!(tier.left_out, anew.left_out);
            assert_eq!(tier.usable_weight, anew.usable_weight);
            assert!((tier.share - anew.share).abs() < 1e-9);
            let total = |tier: &Tier| tier.list.used_weight();
            assert_eq!(total(tier), total(anew));
        }
    }
}

#[test]
fn a_set_in_another_order_is_the_same_set() {
    let current = upstreams(&["a", "b", "c"]);
    for (new, expected) in [
        (&["c", "a", "b"][..], &["a", "b", "c"][..]),
        (&["c", "a", "b", "a"], &["a", "b", "c"]),
        (&["c", "a"], &["c", "a"]),
        (&["c", "a", "b", "d"], &["c", "a", "b", "d"]),
        (&["d", "a", "b"], &["d", "a", "b"]),
        (&[], &[]),
    ] {
        let found = unless_same_set(current.clone(), upstreams(new));
        assert_eq!(found, upstreams(expected));
    }
    let mut heavier = upstreams(&["c", "b", "a"]);
    heavier[0] = heavier[0].clone().weight(2);
    assert_eq!(unless_same_set(current, heavier.clone()), heavier);
}

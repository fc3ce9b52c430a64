use proptest::prelude::*;

use super::*;

fn keys(weights: &[u32]) -> Vec<NameKey> {
    let keys = (0..).zip(weights);
    keys.map(|(hash, weight)| NameKey {
        hash,
        weight: *weight,
    })
    .collect()
}

fn turns(weights: &[u32]) -> Turns {
    let mut turns = Turns::new(&keys(weights));
    turns.begin();
    turns
}

fn take(turns: &mut Turns) -> usize {
    turns.next(|_, _| Use::Takes).unwrap().unwrap()
}

#[test]
fn a_pick_does_not_look_at_all_upstreams() {
    for (unusable, most) in [(0, 1), (5, 2), (9, 10)] {
        let mut turns = turns(&[3; 10_000]);
        let mut looks = 0;
        for _ in 0..30_000 {
            let picked = turns.next(|place, _| {
                looks += 1;
                match place % 10 < unusable {
                    true => Use::PassesOver,
                    false => Use::Takes,
                }
            });
            assert!(picked.unwrap().unwrap() % 10 >= unusable);
        }
        assert!(looks <= 30_000 * most + 10_000, "{looks} with {unusable}");
    }
}

#[test]
fn a_heavy_upstream_that_cannot_be_picked_is_looked_at_once_for_each_pick() {
    let mut turns = turns(&[1_000_000, 1, 1]);
    let mut looks = 0;
    for pick in 0..100 {
        let picked = turns.next(|place, _| {
            looks += 1;
            match place {
                0 => Use::PassesOver,
                _ => Use::Takes,
            }
        });
        assert_eq!(picked.unwrap(), Some(1 + pick % 2));
    }
    assert!(looks <= 200);
    // The turns that it has missed are not made up for.
    assert!((0..3).any(|_| take(&mut turns) == 0));
    let picks = (0..1_000_000).map(|_| take(&mut turns));
    assert!(picks.filter(|place| *place > 0).count() >= 1);
}

#[test]
fn a_part_of_the_share_is_as_if_the_weight_were_less() {
    let mut turns = turns(&[3, 1, 4]);
    let parts = [0.5, 1.0, 0.25];
    let mut picks = [0; 3];
    for _ in 0..7_000 {
        let picked = turns.next(|place, _| match parts[place] {
            1.0 => Use::Takes,
            part => Use::TakesPart(part),
        });
        picks[picked.unwrap().unwrap()] += 1;
    }
    assert_eq!(picks.map(|count| count / 10), [300, 200, 200]);
}

#[test]
fn next_to_no_share_is_used_only_if_there_is_no_other() {
    let mut turns = turns(&[1000, 1]);
    let mut picks = |part_of_light: Use| {
        let mut picks = [0; 2];
        for _ in 0..100 {
            let look = |place, _: &NameKey| match place {
                0 => Use::TakesPart(1e-9),
                _ => part_of_light,
            };
            picks[turns.next(look).unwrap().unwrap()] += 1;
        }
        picks
    };
    assert_eq!(picks(Use::Takes), [0, 100]);
    assert_eq!(picks(Use::PassesOver), [100, 0]);
    assert!(picks(Use::TakesPart(1e-9))[0] > 90);
}

#[test]
fn without_weight_there_are_no_turns() {
    assert_eq!(turns(&[0, 0]).next(|_, _| Use::Takes).unwrap(), None);
    assert_eq!(turns(&[]).next(|_, _| Use::Takes).unwrap(), None);
    let mut turns = turns(&[0, 1]);
    assert_eq!([take(&mut turns), take(&mut turns)], [1, 1]);
}

proptest! {
    /// The picks of an upstream are never more than one ahead of its share or behind it.
    #[test]
    fn at_any_time_each_has_its_share(
        weights in proptest::collection::vec(0..30_u32, 1..20),
    ) {
        let total: u32 = weights.iter().sum();
        prop_assume!(total > 0);
        let mut turns = turns(&weights);
        let mut picks = vec![0_u32; weights.len()];
        for time in 1..=2 * total {
            picks[take(&mut turns)] += 1;
            for (picked, weight) in picks.iter().zip(&weights) {
                let (due, had) = (time * weight, picked * total);
                prop_assert!(
                    due.abs_diff(had) <= total,
                    "{picked} of {due}/{total} after {time} of {weights:?}"
                );
            }
        }
    }

    /// Whichever upstreams can be picked from time to time, the others share by weight.
    ///
    /// At each change an upstream may be a turn ahead of its share, or three behind it before its turns
    /// are lost, and all that can be picked share the sum of these differences by weight.
    #[test]
    fn those_that_can_be_picked_share_by_weight(
        weights in proptest::collection::vec(1..20_u32, 2..12),
        changes in proptest::collection::vec(any::<u16>(), 1..6),
    ) {
        const LAPS: u32 = 30;
        let mut turns = turns(&weights);
        for usable in changes {
            let is_usable = |place: usize| usable >> place & 1 == 1;
            let of_usable = (0..weights.len()).filter(|place| is_usable(*place));
            let total: u32 = of_usable.clone().map(|place| weights[place]).sum();
            let mut picks = vec![0_u32; weights.len()];
            for _ in 0..LAPS * total {
                let picked = turns.next(|place, _| match is_usable(place) {
                    true => Use::Takes,
                    false => Use::PassesOver,
                });
                picks[picked.unwrap().unwrap()] += 1;
            }
            let usable = of_usable.clone().count() as u32;
            for place in of_usable {
                let (picked, weight) = (picks[place], weights[place]);
                let most = 4 + 4 * usable * weight / total;
                prop_assert!(
                    picked.abs_diff(LAPS * weight) <= most,
                    "{place}: {picked}, not {} by {most}", LAPS * weight
                );
            }
        }
    }
}

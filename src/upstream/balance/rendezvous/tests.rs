use std::time::Duration;

use super::*;
use crate::{
    Upstream,
    upstream::balance::{
        First, MockCandidates,
        testing::{Marked, assert_shares, named, picks},
    },
};

const KEYS: usize = 100_000;

/// Returns the name of each key's upstream.
fn assigned(upstreams: &[Upstream]) -> Vec<String> {
    let mock = MockCandidates::from_upstreams(upstreams.iter().cloned());
    let candidates = mock.candidates();
    let policy = Rendezvous::by_query("k");
    let home = |key: usize| {
        let request = http::Request::get(format!("/?k=user-{key}"))
            .body(())
            .unwrap();
        let index = policy
            .pick(&candidates, &RequestHead::from(&request))
            .unwrap();
        candidates.get(index).unwrap().name().to_owned()
    };
    (0..KEYS).map(home).collect()
}

fn shares(assigned: &[String], upstreams: &[Upstream]) -> Vec<usize> {
    let of = |upstream: &Upstream| {
        assigned
            .iter()
            .filter(|home| *home == upstream.name())
            .count()
    };
    upstreams.iter().map(of).collect()
}

fn upstreams(count: usize) -> Vec<Upstream> {
    (0..count)
        .map(|index| named(&format!("10.0.0.{index}")))
        .collect()
}

#[test]
fn keys_are_spread_as_the_weights_say() {
    let upstreams: Vec<_> = [1, 2, 0, 5, 2]
        .into_iter()
        .zip(upstreams(5))
        .map(|(weight, upstream)| upstream.weight(weight))
        .collect();
    let shares = shares(&assigned(&upstreams), &upstreams);
    assert_shares(&shares, &[1., 2., 0., 5., 2.]);
}

#[test]
fn alike_upstreams_get_alike_many_keys() {
    let upstreams = upstreams(10);
    assert_shares(&shares(&assigned(&upstreams), &upstreams), &[1.; 10]);
}

#[test]
fn adding_an_upstream_moves_its_share_and_only_to_it() {
    for count in [2, 5, 20] {
        let all = upstreams(count);
        let before = assigned(&all[1..]);
        let after = assigned(&all);
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before != after);
        let mut moves = 0;
        for (_, after) in moved {
            assert_eq!(after, all[0].name());
            moves += 1;
        }
        let bound = KEYS / count + KEYS * 2 / 100;
        assert!(
            moves > KEYS / count / 2 && moves <= bound,
            "{moves} of {bound}"
        );
    }
}

#[test]
fn removing_an_upstream_or_its_weight_moves_only_its_keys() {
    let all = upstreams(6);
    let before = assigned(&all);
    let removed = [&all[..2], &all[3..]].concat();
    let mut weightless = all.clone();
    weightless[2] = all[2].clone().weight(0);
    let after = assigned(&removed);
    assert_eq!(after, assigned(&weightless));
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || before == all[2].name());
    }
    let heirs = shares(
        &before
            .iter()
            .zip(after)
            .filter(|(before, _)| *before == all[2].name())
            .map(|(_, after)| after)
            .collect::<Vec<_>>(),
        &removed,
    );
    assert_shares(&heirs, &[1.; 5]);
}

#[test]
fn a_popular_key_does_not_overload_its_upstream() {
    let request = http::Request::get("/?k=popular").body(()).unwrap();
    let head = RequestHead::from(&request);
    let policy = Rendezvous::by_query("k").bounded_load(1.25);
    let mut mock = MockCandidates::from_upstreams(
        upstreams(10)
            .into_iter()
            .zip([1, 2].into_iter().cycle())
            .map(|(upstream, weight)| upstream.weight(weight)),
    );
    let first = policy.pick(&mock.candidates(), &head);
    for opened in 1..=3_000 {
        let index = policy.pick(&mock.candidates(), &head).unwrap();
        mock.open(index);
        let candidates = mock.candidates();
        for candidate in candidates.iter() {
            let share = f64::from(candidate.weight()) / 15.0;
            let bound = (1.25 * f64::from(opened) * share).ceil();
            assert!(
                candidate.tunnels() as f64 <= bound,
                "{candidate:?} of {opened}"
            );
        }
    }
    let first = mock.candidates().get(first.unwrap()).unwrap();
    let share = 3_000.0 * f64::from(first.weight()) / 15.0;
    assert!(
        first.tunnels() as f64 >= 1.2 * share,
        "the first is filled first"
    );
}

#[test]
fn below_the_bound_keys_are_where_they_are_without() {
    let mock = MockCandidates::from_upstreams(upstreams(7));
    for key in 0..100 {
        let request = http::Request::get(format!("/?k={key}")).body(()).unwrap();
        let head = RequestHead::from(&request);
        let home = Rendezvous::by_query("k").pick(&mock.candidates(), &head);
        let bounded = Rendezvous::by_query("k").bounded_load(2.0);
        assert_eq!(bounded.pick(&mock.candidates(), &head), home);
    }
}

#[test]
fn the_order_of_the_upstreams_does_not_matter() {
    let mut upstreams = upstreams(7);
    upstreams[3] = upstreams[3].clone().weight(3);
    let before = assigned(&upstreams);
    upstreams.reverse();
    upstreams.swap(1, 4);
    assert_eq!(before, assigned(&upstreams));
}

/// A change of these would move the clients of a fleet back and forth during its update.
#[test]
fn picks_are_the_same_in_every_release() {
    let assigned = assigned(&upstreams(5));
    let first: Vec<_> = assigned[..12].iter().map(|home| &home[7..8]).collect();
    assert_eq!(first.concat(), "202211414112");
}

#[test]
fn neither_tunnels_nor_a_slow_start_move_a_key() {
    let request = http::Request::get("/")
        .header("x-room", "blue")
        .body(())
        .unwrap();
    let head = RequestHead::from(&request);
    let policy = Rendezvous::by_header(HeaderName::from_static("x-room"));
    let mut mock = MockCandidates::from_upstreams(upstreams(5));
    let home = policy.pick(&mock.candidates(), &head).unwrap();
    mock.open(home);
    mock.slow_start(home, Duration::from_secs(100));
    assert_eq!(policy.pick(&mock.candidates(), &head), Some(home));
}

#[test]
fn without_a_key_the_fallback_picks_and_marks() {
    let mock = MockCandidates::from_upstreams(upstreams(3));
    let policy = Rendezvous::by(|_: &RequestHead<'_>| None::<String>);
    fastrand::seed(15);
    assert_shares(&picks(&policy, &mock, KEYS), &[1.; 3]);
    let policy = policy.fallback(First::new());
    assert_eq!(picks(&policy, &mock, 9), [9, 0, 0]);
    let empty = Rendezvous::by(|_: &RequestHead<'_>| Some("")).fallback(First::new());
    assert_eq!(picks(&empty, &mock, 9), [9, 0, 0]);

    let request = http::Request::new(());
    let head = RequestHead::from(&request);
    let picked = mock.candidates().get(0).unwrap();
    let mark = |policy: Rendezvous| {
        let policy = policy.fallback(Marked("m"));
        policy.response_header(&picked, &head, ClientScheme::Http)
    };
    assert!(mark(empty).is_some());
    assert!(mark(Rendezvous::by_path()).is_none());
}

#[test]
fn none_is_picked_without_weight() {
    let policy = Rendezvous::by_path();
    let weightless = upstreams(3).into_iter().map(|upstream| upstream.weight(0));
    assert_eq!(
        picks(&policy, &MockCandidates::from_upstreams(weightless), 9),
        [0, 0, 0]
    );
    assert!(picks(&policy, &MockCandidates::from_upstreams([]), 9).is_empty());
}

//! Weighted round-robin policy.

use std::sync::Mutex;

use crate::{http::head::RequestHead, lock::lock};

use super::{
    candidate_list::{CandidateList, NameKey},
    candidates::{Candidate, Candidates},
    policy::Balance,
    turns::{Outdated, Turns, Use},
};

/// Number of lists whose turns are kept: one for each priority tier, and one for each pool.
const MAX_LISTS: usize = 8;

/// Weighted round-robin policy: picks the upstreams in turn, each as often as its weight, smoothly
/// interleaved: weights of 5, 1 and 1 give `a b a a c a a`.
///
/// Of any W picks in a row, where W is the sum of the weights in lowest terms, each upstream gets
/// exactly its weight, as long as the upstreams stay the same. An upstream that is unusable for a
/// while keeps its place. In a slow start an upstream has less weight.
///
/// A pick takes a time that grows with the logarithm of the number of upstreams, under a lock. If most
/// of them cannot be used, it passes over the turns of some of them.
#[derive(Debug, Default)]
pub struct WeightedRoundRobin {
    lists: Mutex<Vec<ListTurns>>,
}

/// Turns of the upstreams of one list.
#[derive(Debug)]
struct ListTurns {
    list: ListId,
    turns: Turns,
}

/// Identity of a list: its address and length. Another list may come to be there later, so each pick
/// compares the name and the weight of the upstream as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ListId(usize, usize);

impl WeightedRoundRobin {
    /// Creates the policy; the first pick is the heaviest upstream.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            lists: Mutex::new(Vec::new()),
        }
    }
}

impl Balance for WeightedRoundRobin {
    fn pick(&self, candidates: &Candidates<'_>, _request: &RequestHead<'_>) -> Option<usize> {
        let mut lists = lock(&self.lists);
        let list = ListId::of(candidates.list());
        if let Some(known) = lists.iter_mut().find(|known| known.list == list) {
            if let Ok(picked) = pick(&mut known.turns, candidates) {
                return picked;
            }
        }
        // The first pick since the upstreams have changed.
        let mut turns = replace(&mut lists, candidates.list());
        let picked = pick(&mut turns, candidates);
        lists.push(ListTurns { list, turns });
        picked.ok().flatten()
    }
}

impl ListId {
    fn of(list: &CandidateList) -> Self {
        let members = list.members();
        Self(members.as_ptr() as usize, members.len())
    }
}

fn pick(turns: &mut Turns, candidates: &Candidates<'_>) -> Result<Option<usize>, Outdated> {
    let place = turns.next(|place, key| match candidates.at_place(place) {
        Some((_, candidate)) if !is_of(key, &candidate) => Use::IsAnother,
        Some((_, candidate)) if !candidate.is_eligible() => Use::PassesOver,
        Some((_, candidate)) if candidate.is_ready() => Use::Takes,
        Some((_, candidate)) => Use::TakesPart(candidate.readiness()),
        None => Use::PassesOver,
    })?;
    Ok(place.and_then(|place| Some(candidates.at_place(place)?.0)))
}

/// Whether the key is of this upstream as it is now: its weight may have changed.
fn is_of(key: &NameKey, candidate: &Candidate<'_>) -> bool {
    (candidate.name_hash(), candidate.weight()) == (key.hash, key.weight)
}

/// Returns the turns of a list that takes the place of those that have any of its upstreams.
fn replace(lists: &mut Vec<ListTurns>, list: &CandidateList) -> Turns {
    let mut turns = Turns::new(list.keys());
    lists.retain(|earlier| !turns.take_over(&earlier.turns));
    turns.begin();
    if lists.len() >= MAX_LISTS {
        lists.remove(0);
    }
    turns
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::*;
    use crate::{
        Pool,
        upstream::{
            admission::AdmissionKind,
            balance::{
                MockCandidates,
                testing::{assert_shares, mock, named, picks, picks_of},
            },
        },
    };

    fn sequence(weights: &[u32], times: usize) -> Vec<usize> {
        let (policy, mock) = (WeightedRoundRobin::new(), mock(weights));
        let request = http::Request::new(());
        let head = RequestHead::from(&request);
        let picks = (0..times).map(|_| policy.pick(&mock.candidates(), &head).unwrap());
        picks.collect()
    }

    #[test]
    fn the_heavy_are_interleaved_with_the_light() {
        assert_eq!(sequence(&[5, 1, 1], 7), [0, 1, 0, 0, 2, 0, 0]);
        assert_eq!(sequence(&[1, 1], 4), [0, 1, 0, 1]);
        assert_eq!(sequence(&[100, 0, 100], 4), [0, 2, 0, 2]);
        assert_eq!(sequence(&[100, 99], 6), [0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn shares_are_as_the_weights() {
        let policy = WeightedRoundRobin::new();
        let picks = picks(&policy, &mock(&[5, 0, 1, 4]), 100_000);
        assert_eq!(picks, [50_000, 0, 10_000, 40_000]);
    }

    #[test]
    fn none_is_picked_without_weight() {
        let policy = WeightedRoundRobin::new();
        assert_eq!(picks(&policy, &mock(&[0, 0]), 10), [0, 0]);
        assert!(picks(&policy, &mock(&[]), 10).is_empty());
    }

    #[test]
    fn huge_weights_do_not_overflow() {
        let weights = vec![u32::MAX; 999];
        let picks = picks(&WeightedRoundRobin::new(), &mock(&weights), 999);
        assert_eq!(picks, [1; 999]);
        let mut weights = weights;
        weights.push(u32::MAX - 1);
        assert_eq!(sequence(&weights, 100).len(), 100);
    }

    #[test]
    fn unusable_upstreams_keep_their_place() {
        let (policy, all) = (WeightedRoundRobin::new(), mock(&[1, 1, 1]));
        assert_eq!(picks(&policy, &all, 1), [1, 0, 0]);
        let others = MockCandidates::from_upstreams([named("u1"), named("u2")]);
        assert_eq!(picks(&policy, &others, 1), [1, 0]);
        assert_eq!(picks(&policy, &all, 1), [0, 0, 1]);
        assert_eq!(picks(&policy, &all, 3), [1, 1, 1]);
    }

    #[test]
    fn new_and_moved_upstreams_join_and_the_others_keep_their_place() {
        let policy = WeightedRoundRobin::new();
        assert_eq!(picks(&policy, &mock(&[1, 1]), 1), [1, 0]);
        let reordered = MockCandidates::from_upstreams([named("u2"), named("u1"), named("u0")]);
        assert_eq!(picks(&policy, &reordered, 1), [0, 1, 0]);
        assert_eq!(picks(&policy, &reordered, 1), [1, 0, 0]);
        assert_eq!(picks(&policy, &reordered, 99_999), [33_333; 3]);
    }

    #[test]
    fn many_threads_share_the_turns_by_weight() {
        let (policy, mock) = (WeightedRoundRobin::new(), mock(&[1, 2, 1]));
        let run = || picks(&policy, &mock, 10_000);
        let of_threads = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            let picks = threads.into_iter().map(|thread| thread.join().unwrap());
            picks.collect::<Vec<_>>()
        });
        let sum = |index: usize| of_threads.iter().map(|picks| picks[index]).sum::<usize>();
        assert_eq!([sum(0), sum(1), sum(2)], [10_000, 20_000, 10_000]);
    }

    #[test]
    fn a_slow_start_gets_a_growing_share() {
        let mut mock = mock(&[3, 1]);
        mock.slow_start(0, Duration::from_secs(100));
        let began = Instant::now();
        let policy = WeightedRoundRobin::new();
        for (after, share) in [(10, 0.3), (50, 1.5), (90, 2.7), (200, 3.0)] {
            let candidates = mock.candidates_at(began + Duration::from_secs(after));
            let picks = picks_of(&policy, &candidates, 100_000);
            assert_shares(&picks, &[share, 1.0]);
        }
    }

    proptest! {
        #[test]
        fn in_any_lap_each_gets_its_weight_and_never_waits_long(
            weights in proptest::collection::vec(0..20_u32, 1..8),
            skip in 0..50_usize,
        ) {
            let whole: u32 = weights.iter().sum();
            prop_assume!(whole > 0);
            let lap = whole as usize;
            let sequence = sequence(&weights, skip + 3 * lap);
            let window = &sequence[skip..];
            for (index, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0) {
                let here: Vec<_> = (0..window.len()).filter(|at| window[*at] == index).collect();
                prop_assert_eq!(here.len(), 3 * *weight as usize);
                let longest = here.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
                // One pick is at the start of its window at the soonest, the next at the end of the
                // next window at the latest.
                prop_assert!(
                    longest * *weight as usize <= 2 * lap,
                    "{} waits {} of {}: {:?}", index, longest, lap, window
                );
            }
        }
    }

    /// The list of the second edit often lies where the first one lay.
    #[tokio::test]
    async fn changed_weights_count_at_the_next_pick() {
        let upstream = |index: u32, weight| named(&format!("u{index}")).weight(weight);
        let pool = Pool::from_upstreams((0..9).map(|index| upstream(index, 1)))
            .balance(WeightedRoundRobin::new())
            .build();
        let request = http::Request::new(());
        let head = RequestHead::from(&request);
        for weight in [9, 1].into_iter().cycle().take(40) {
            assert!(pool.add(upstream(0, 5)));
            assert!(pool.add(upstream(0, weight)));
            let mut first = 0;
            for _ in 0..10 * (weight + 8) {
                let lease = pool.lease(AdmissionKind::Tunnel, &head, &[]).await.unwrap();
                first += u32::from(lease.member().upstream().name() == "u0:80");
            }
            assert!(first.abs_diff(10 * weight) <= 3, "{first} of {weight}");
        }
    }
}

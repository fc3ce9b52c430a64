//! Least-tunnels policy.

use crate::http::head::RequestHead;

use super::{
    candidates::{Candidate, Candidates},
    policy::Balance,
    sampling::better_of_two,
};

/// Least-tunnels policy: of two random upstreams, picks the one with fewer tunnels for its weight.
/// The default.
///
/// Tunnels are counted relative to the [effective weight](Candidate::effective_weight): an upstream
/// of weight 3 may have three times as many, and one in a slow start takes only a few, so that an
/// upstream which comes back empty does not get all new tunnels at once. Ties are broken at random.
///
/// Two choices keep the fullest of n upstreams within about log log n tunnels of the mean
/// (Mitzenmacher, *The Power of Two Choices in Randomized Load Balancing*, 2001), at the same small
/// cost for any n. The two are drawn by weight, as nginx does for `random two`, so a heavy upstream
/// takes part in as many picks as its share needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastTunnels {
    sample: Sample,
}

#[derive(Clone, Copy, Debug, Default)]
enum Sample {
    #[default]
    TwoAtRandom,
    All,
}

impl LeastTunnels {
    /// Creates the policy that compares two random upstreams.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            sample: Sample::TwoAtRandom,
        }
    }

    /// Compares all upstreams. The cost of a pick grows with their number, some 7 µs among 1,000 and 200 µs
    /// or more among 10,000, which no longer fit into a cache; and several proxies that do not know each
    /// other's tunnels all pick the same upstream.
    #[must_use]
    pub const fn exact(mut self) -> Self {
        self.sample = Sample::All;
        self
    }
}

impl Balance for LeastTunnels {
    fn pick(&self, candidates: &Candidates<'_>, _request: &RequestHead<'_>) -> Option<usize> {
        match self.sample {
            Sample::TwoAtRandom => better_of_two(candidates, |one, other| load(one) < load(other)),
            Sample::All => least_of_all(candidates),
        }
    }
}

/// Returns the tunnels per effective weight, including the new one, so that of several empty
/// upstreams the heaviest is picked first.
fn load(candidate: &Candidate<'_>) -> f64 {
    (candidate.tunnels() as f64 + 1.0) / candidate.effective_weight()
}

fn least_of_all(candidates: &Candidates<'_>) -> Option<usize> {
    let mut least = f64::INFINITY;
    let mut ties = 0_usize;
    let mut picked = None;
    for (index, candidate) in candidates.iter().enumerate() {
        if !candidate.is_eligible() {
            continue;
        }
        let load = load(&candidate);
        if load < least {
            (least, ties, picked) = (load, 1, Some(index));
        } else if load == least {
            // Each of k ties is kept with a probability of 1/k.
            ties += 1;
            if fastrand::usize(..ties) == 0 {
                picked = Some(index);
            }
        }
    }
    picked
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, time::Duration};

    use tokio::time::Instant;

    use super::*;
    use crate::upstream::balance::{
        MockCandidates,
        testing::{assert_shares, mock, picks, picks_of},
    };

    const BOTH: [LeastTunnels; 2] = [LeastTunnels::new(), LeastTunnels::new().exact()];

    fn tunnels(mock: &MockCandidates) -> Vec<usize> {
        let candidates = mock.candidates();
        candidates
            .iter()
            .map(|candidate| candidate.tunnels())
            .collect()
    }

    /// Opens `arrivals` tunnels; from the `held`th on, a random open one is closed with each that
    /// is opened.
    fn run(policy: &LeastTunnels, mock: &mut MockCandidates, arrivals: usize, held: usize) {
        let request = http::Request::new(());
        let head = RequestHead::from(&request);
        let mut open = VecDeque::new();
        for _ in 0..arrivals {
            if open.len() == held {
                let ends = open.swap_remove_back(fastrand::usize(..held)).unwrap();
                mock.close(ends);
            }
            let index = policy.pick(&mock.candidates(), &head).unwrap();
            mock.open(index);
            open.push_back(index);
        }
    }

    #[test]
    fn alike_upstreams_are_picked_alike() {
        fastrand::seed(5);
        for policy in BOTH {
            assert_shares(&picks(&policy, &mock(&[1; 5]), 100_000), &[1.; 5]);
            let shares = picks(&policy, &mock(&[2, 0, 2, 0, 2]), 100_000);
            assert_shares(&shares, &[1., 0., 1., 0., 1.]);
        }
    }

    #[test]
    fn of_two_the_one_with_fewer_tunnels_per_weight_is_taken() {
        let mut mock = mock(&[1, 4]);
        for policy in BOTH {
            assert_eq!(
                picks(&policy, &mock, 9),
                [0, 9],
                "empty, the heavier is first"
            );
        }
        for _ in 0..4 {
            mock.open(1);
        }
        for policy in BOTH {
            assert_eq!(picks(&policy, &mock, 9), [9, 0]);
        }
    }

    #[test]
    fn of_three_the_fullest_is_never_taken_and_exact_takes_the_emptiest_only() {
        fastrand::seed(6);
        let mut mock = mock(&[1, 1, 1]);
        mock.open(0);
        mock.open(0);
        mock.open(1);
        let shares = picks(&LeastTunnels::new(), &mock, 100_000);
        // The pairs are (0,1), (0,2) and (1,2): the last is in two of them.
        assert_shares(&shares, &[0., 1., 2.]);
        assert_eq!(picks(&LeastTunnels::new().exact(), &mock, 100), [0, 0, 100]);
    }

    #[test]
    fn held_tunnels_stay_level_over_10_000_arrivals() {
        fastrand::seed(7);
        for (policy, bound) in BOTH.iter().zip([1.15, 1.10]) {
            let mut mock = mock(&[1; 50]);
            run(policy, &mut mock, 10_000, 2_500);
            let tunnels = tunnels(&mock);
            let mean = 2_500.0 / 50.0;
            let max = *tunnels.iter().max().unwrap() as f64;
            assert_eq!(tunnels.iter().sum::<usize>(), 2_500);
            assert!(
                max / mean <= bound,
                "{policy:?}: {max} of {mean}: {tunnels:?}"
            );
        }
    }

    #[test]
    fn held_tunnels_are_as_the_weights() {
        fastrand::seed(8);
        for policy in BOTH {
            let mut mock = mock(&[1, 2, 3, 0, 2]);
            run(&policy, &mut mock, 10_000, 800);
            for (tunnels, wanted) in tunnels(&mock).into_iter().zip([100, 200, 300, 0, 200]) {
                assert!(
                    tunnels.abs_diff(wanted) <= wanted / 20,
                    "{tunnels} not {wanted}"
                );
            }
        }
    }

    /// Opens tunnels that stay open, and returns how many each upstream holds.
    fn held(policy: &dyn Balance, weights: &[u32], tunnels: usize) -> Vec<usize> {
        let mut mock = mock(weights);
        let request = http::Request::new(());
        let head = RequestHead::from(&request);
        for _ in 0..tunnels {
            let index = policy.pick(&mock.candidates(), &head).unwrap();
            mock.open(index);
        }
        self::tunnels(&mock)
    }

    #[test]
    fn a_heavy_upstream_gets_its_share_among_light_ones() {
        fastrand::seed(22);
        let tables: [(usize, &dyn Fn(usize) -> u32); 8] = [
            (2, &|index| [1, 100][index]),
            (2, &|index| [1, 3][index]),
            (10, &|index| if index == 0 { 10 } else { 1 }),
            (10, &|index| if index == 0 { 100 } else { 1 }),
            (10, &|index| 1 + 11 * index as u32),
            (100, &|index| if index == 0 { 100 } else { 1 }),
            (100, &|index| 1 + index as u32),
            (100, &|index| [1, 10, 100][index % 3]),
        ];
        for (count, weight) in tables {
            let weights: Vec<_> = (0..count).map(weight).collect();
            let whole: u32 = weights.iter().sum();
            for policy in BOTH {
                let opened = 20 * whole as usize;
                let held = held(&policy, &weights, opened);
                for (held, weight) in held.iter().zip(&weights) {
                    let share = f64::from(*weight) / f64::from(whole);
                    let due = share * opened as f64;
                    let deviation = (due * (1.0 - share)).sqrt();
                    let off = (*held as f64 - due).abs();
                    assert!(
                        off <= (0.05 * due).max(3.0 * deviation),
                        "{policy:?}, weight {weight} of {weights:?}: {held}, not {due}"
                    );
                }
            }
        }
    }

    #[test]
    fn all_are_even_again_after_an_upstream_came_back_empty() {
        fastrand::seed(9);
        let mut mock = mock(&[1; 10]);
        for index in 1..10 {
            for _ in 0..100 {
                mock.open(index);
            }
        }
        // The upstream takes part in 2 of 10 picks, and is picked in each of those, but no more
        // often.
        let request = http::Request::new(());
        let head = RequestHead::from(&request);
        for _ in 0..100 {
            let index = LeastTunnels::new().pick(&mock.candidates(), &head).unwrap();
            mock.open(index);
        }
        let came_back = tunnels(&mock)[0];
        assert!((8..=35).contains(&came_back), "{came_back}");
    }

    #[test]
    fn a_slow_start_holds_a_growing_part() {
        fastrand::seed(10);
        for policy in BOTH {
            let mut mock = mock(&[1, 1]);
            for _ in 0..1_000 {
                mock.open(0);
            }
            mock.slow_start(1, Duration::from_secs(100));
            let began = Instant::now();
            let mut opened = 0;
            for (after, wanted) in [(1, 10), (20, 200), (50, 500), (80, 800), (100, 1_000)] {
                let now = began + Duration::from_secs(after);
                while picks_of(&policy, &mock.candidates_at(now), 1)[1] == 1 {
                    mock.open(1);
                    opened += 1;
                }
                assert!(
                    i32::abs(opened - wanted) <= 2 + wanted / 100,
                    "{opened} at {after} s"
                );
            }
        }
    }

    #[test]
    fn none_is_picked_without_weight() {
        for policy in BOTH {
            assert_eq!(picks(&policy, &mock(&[0, 0, 0]), 10), [0, 0, 0]);
            assert!(picks(&policy, &mock(&[]), 10).is_empty());
            assert_eq!(picks(&policy, &mock(&[0, 1]), 10), [0, 10]);
        }
    }
}

//! In turn, by weight.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::head::RequestHead;

use super::{Balance, Candidate, Candidates};

/// Takes the upstreams in turn, each as often as its weight says, and spread as evenly as may be:
/// weights of 5, 1 and 1 give `a a a b a c a`.
///
/// Of any W picks in a row, W being the sum of the weights in lowest terms, each upstream gets
/// exactly its weight. That needs no state but a count of turns, so picking takes no lock, and
/// upstreams that come, go or are tried again disturb nothing.
///
/// In a slow start an upstream weighs less for a while.
#[derive(Debug, Default)]
pub struct WeightedRoundRobin {
    turn: AtomicU64,
}

impl WeightedRoundRobin {
    /// Begins with the first upstream.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            turn: AtomicU64::new(0),
        }
    }
}

/// Each upstream has a stretch of a circle, as long as its weight. A turn goes on by one step
/// that has no factor in common with the circle's length: so it comes to each point once a lap,
/// and as the step is near the golden section of the circle, any few turns in a row fall far
/// apart from each other (the three-gap theorem).
impl Balance for WeightedRoundRobin {
    fn pick(&self, candidates: &Candidates<'_>, _request: &RequestHead<'_>) -> Option<usize> {
        let mut whole = 0;
        let mut unit = 0;
        for candidate in candidates.iter() {
            let stretch = stretch(&candidate);
            whole += stretch;
            unit = common_divisor(unit, stretch);
        }
        let lap = whole.checked_div(unit)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % lap;
        let mut left = multiply_modulo(turn, step(lap), lap) * unit;
        candidates.iter().position(|candidate| {
            let stretch = stretch(&candidate);
            let is_here = left < stretch;
            left = left.saturating_sub(stretch);
            is_here
        })
    }
}

/// In hundredths of weight, for the sake of slow starts.
fn stretch(candidate: &Candidate<'_>) -> u64 {
    if !candidate.is_wanted() {
        return 0;
    }
    ((candidate.share() * 100.0).round() as u64).max(1)
}

const fn common_divisor(mut one: u64, mut other: u64) -> u64 {
    // Mostly one divides the other, which a single division tells.
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

fn step(lap: u64) -> u64 {
    const GOLDEN_SECTION: f64 = 0.618_033_988_749_895;
    let golden = ((lap as f64 * GOLDEN_SECTION) as u64).max(1);
    // One below the lap has no factor in common with it, so the search ends.
    (golden..lap)
        .find(|step| common_divisor(lap, *step) == 1)
        .unwrap_or(1)
}

fn multiply_modulo(one: u64, other: u64, modulus: u64) -> u64 {
    let product = u128::from(one) * u128::from(other) % u128::from(modulus);
    // Smaller than the modulus.
    product as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::*;
    use crate::balance::testing::{assert_shares, picks, picks_of, trial};

    fn sequence(weights: &[u32], times: usize) -> Vec<usize> {
        let (policy, trial) = (WeightedRoundRobin::new(), trial(weights));
        let request = http::Request::new(());
        let head = RequestHead::from(&request);
        let picks = (0..times).map(|_| policy.pick(&trial.candidates(), &head).unwrap());
        picks.collect()
    }

    #[test]
    fn the_heavy_are_interleaved_with_the_light() {
        assert_eq!(sequence(&[5, 1, 1], 7), [0, 0, 0, 1, 0, 2, 0]);
        assert_eq!(sequence(&[1, 1], 4), [0, 1, 0, 1]);
        assert_eq!(sequence(&[100, 0, 100], 4), [0, 2, 0, 2]);
    }

    #[test]
    fn shares_are_as_the_weights() {
        let policy = WeightedRoundRobin::new();
        let picks = picks(&policy, &trial(&[5, 0, 1, 4]), 100_000);
        assert_eq!(picks, [50_000, 0, 10_000, 40_000]);
    }

    #[test]
    fn none_is_picked_where_none_is_wanted() {
        let policy = WeightedRoundRobin::new();
        assert_eq!(picks(&policy, &trial(&[0, 0]), 10), [0, 0]);
        assert!(picks(&policy, &trial(&[]), 10).is_empty());
    }

    #[test]
    fn huge_weights_do_not_overflow() {
        let weights = vec![u32::MAX; 999];
        let picks = picks(&WeightedRoundRobin::new(), &trial(&weights), 999);
        assert_eq!(picks, [1; 999]);
        let mut weights = weights;
        weights.push(u32::MAX - 1);
        assert_eq!(sequence(&weights, 100).len(), 100);
    }

    #[test]
    fn a_slow_start_gets_a_growing_share() {
        let mut trial = trial(&[3, 1]);
        trial.slow_start(0, Duration::from_secs(100));
        let began = Instant::now();
        let policy = WeightedRoundRobin::new();
        for (after, share) in [(10, 0.3), (50, 1.5), (90, 2.7), (200, 3.0)] {
            let candidates = trial.candidates_at(began + Duration::from_secs(after));
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
                prop_assert!(
                    longest <= 4 * lap.div_ceil(*weight as usize),
                    "{} waits {} of {}: {:?}", index, longest, lap, window
                );
            }
        }
    }
}

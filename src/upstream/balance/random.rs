//! Random load-balancing policy.

use crate::http::head::RequestHead;

use super::{candidates::Candidates, policy::Balance, sampling::one_by_weight};

/// Random load-balancing policy: picks by [effective weight](super::Candidate::effective_weight).
#[derive(Clone, Copy, Debug, Default)]
pub struct Random {}

impl Random {
    /// Creates the policy; equal weights have equal chances.
    #[must_use]
    pub const fn new() -> Self {
        Self {}
    }
}

impl Balance for Random {
    fn pick(&self, candidates: &Candidates<'_>, _request: &RequestHead<'_>) -> Option<usize> {
        one_by_weight(candidates)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::upstream::balance::testing::{assert_shares, mock, picks, picks_of};

    #[test]
    fn shares_are_as_the_weights() {
        fastrand::seed(3);
        let shares = picks(&Random::new(), &mock(&[5, 0, 1, 1, 3]), 100_000);
        assert_shares(&shares, &[5., 0., 1., 1., 3.]);
        let shares = picks(&Random::new(), &mock(&[1; 7]), 100_000);
        assert_shares(&shares, &[1.; 7]);
    }

    #[test]
    fn none_is_picked_without_weight() {
        assert_eq!(picks(&Random::new(), &mock(&[0, 0]), 10), [0, 0]);
        assert!(picks(&Random::new(), &mock(&[]), 10).is_empty());
    }

    #[test]
    fn a_slow_start_gets_a_growing_share() {
        fastrand::seed(4);
        let mut mock = mock(&[1, 2]);
        mock.slow_start(1, Duration::from_secs(100));
        let began = Instant::now();
        for (after, share) in [(25, 0.5), (50, 1.0), (75, 1.5), (200, 2.0)] {
            let candidates = mock.candidates_at(began + Duration::from_secs(after));
            let picks = picks_of(&Random::new(), &candidates, 100_000);
            assert_shares(&picks, &[1.0, share]);
        }
    }
}

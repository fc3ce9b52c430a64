//! Failover policy: the first usable upstream.

use crate::http::head::RequestHead;

use super::{
    candidates::{Candidate, Candidates},
    policy::Balance,
};

/// Failover policy: picks the first upstream, and the next one only while the first is unusable.
#[derive(Clone, Copy, Debug, Default)]
pub struct First {}

impl First {
    /// Creates the policy; the order is the pool's.
    #[must_use]
    pub const fn new() -> Self {
        Self {}
    }
}

impl Balance for First {
    fn pick(&self, candidates: &Candidates<'_>, _request: &RequestHead<'_>) -> Option<usize> {
        let takes_more =
            |candidate: Candidate<'_>| candidate.is_eligible() && !candidate.is_trial_full();
        candidates.iter().position(takes_more).or_else(|| {
            candidates
                .iter()
                .position(|candidate| candidate.is_eligible())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::balance::testing::{mock, picks};

    #[test]
    fn the_first_with_weight_gets_all() {
        assert_eq!(picks(&First::new(), &mock(&[1, 9]), 100_000), [100_000, 0]);
        assert_eq!(picks(&First::new(), &mock(&[0, 2, 3]), 10), [0, 10, 0]);
        assert_eq!(picks(&First::new(), &mock(&[0]), 10), [0]);
        assert!(picks(&First::new(), &mock(&[]), 10).is_empty());
    }
}

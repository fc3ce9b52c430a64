//! The first that can be used.

use crate::http::head::RequestHead;

use super::{Balance, Candidates};

/// Takes the first upstream, and the next only while that one cannot be used: failover.
#[derive(Clone, Copy, Debug, Default)]
pub struct First {}

impl First {
    /// In the pool's order.
    #[must_use]
    pub const fn new() -> Self {
        Self {}
    }
}

impl Balance for First {
    fn pick(&self, candidates: &Candidates<'_>, _request: &RequestHead<'_>) -> Option<usize> {
        candidates
            .iter()
            .position(|candidate| candidate.is_wanted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::balance::testing::{picks, trial};

    #[test]
    fn the_first_that_is_wanted_gets_all() {
        assert_eq!(picks(&First::new(), &trial(&[1, 9]), 100_000), [100_000, 0]);
        assert_eq!(picks(&First::new(), &trial(&[0, 2, 3]), 10), [0, 10, 0]);
        assert_eq!(picks(&First::new(), &trial(&[0]), 10), [0]);
        assert!(picks(&First::new(), &trial(&[]), 10).is_empty());
    }
}

//! Round-robin policy.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::http::head::RequestHead;

use super::{
    candidates::{Candidate, Candidates},
    policy::Balance,
};

/// Round-robin policy: picks the upstreams in turn, regardless of weight. An upstream in a slow
/// start skips some of its turns.
#[derive(Debug, Default)]
pub struct RoundRobin {
    turn: AtomicUsize,
}

impl RoundRobin {
    /// Creates the policy; the first pick is the first upstream.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            turn: AtomicUsize::new(0),
        }
    }

    fn next(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}

impl Balance for RoundRobin {
    fn pick(&self, candidates: &Candidates<'_>, _request: &RequestHead<'_>) -> Option<usize> {
        // An upstream that is passed over loses its turn. Going on to its neighbor within the same
        // turn would give the neighbor twice as much as the rest.
        for _ in 0..candidates.len() {
            let index = self.next().checked_rem(candidates.len())?;
            if candidates
                .get(index)
                .is_some_and(|candidate| takes_turn(&candidate))
            {
                return Some(index);
            }
        }
        let start = self.next();
        let after = |offset| start.wrapping_add(offset).checked_rem(candidates.len());
        (0..candidates.len()).filter_map(after).find(|index| {
            candidates
                .get(*index)
                .is_some_and(|candidate| candidate.is_eligible())
        })
    }
}

fn takes_turn(candidate: &Candidate<'_>) -> bool {
    if !candidate.is_eligible() {
        return false;
    }
    let readiness = candidate.readiness();
    readiness >= 1.0 || fastrand::f64() < readiness
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::upstream::balance::testing::{assert_shares, mock, picks, picks_of};

    #[test]
    fn each_has_its_turn_in_order() {
        let (policy, mock) = (RoundRobin::new(), mock(&[1, 5, 1]));
        assert_eq!(picks(&policy, &mock, 1), [1, 0, 0]);
        assert_eq!(picks(&policy, &mock, 1), [0, 1, 0]);
        assert_eq!(picks(&policy, &mock, 1), [0, 0, 1]);
        assert_eq!(picks(&policy, &mock, 99_999), [33_333; 3]);
    }

    #[test]
    fn upstreams_without_weight_leave_the_others_even() {
        let policy = RoundRobin::new();
        assert_eq!(
            picks(&policy, &mock(&[1, 0, 0, 1]), 100_000),
            [50_000, 0, 0, 50_000]
        );
        assert_eq!(picks(&policy, &mock(&[0, 0]), 10), [0, 0]);
        assert!(picks(&policy, &mock(&[]), 10).is_empty());
    }

    #[test]
    fn many_threads_share_the_turns_evenly() {
        let (policy, mock) = (RoundRobin::new(), mock(&[1, 1, 1, 1]));
        let run = || picks(&policy, &mock, 10_000);
        let of_threads = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            let picks = threads.into_iter().map(|thread| thread.join().unwrap());
            picks.collect::<Vec<_>>()
        });
        for index in 0..4 {
            let sum: usize = of_threads.iter().map(|picks| picks[index]).sum();
            assert_eq!(sum, 10_000);
        }
    }

    #[test]
    fn a_slow_start_gets_a_growing_share() {
        fastrand::seed(11);
        let mut mock = mock(&[1, 1]);
        mock.slow_start(1, Duration::from_secs(100));
        let began = Instant::now();
        for (after, share) in [(10, 0.1), (50, 0.5), (90, 0.9), (200, 1.0)] {
            let candidates = mock.candidates_at(began + Duration::from_secs(after));
            let picks = picks_of(&RoundRobin::new(), &candidates, 100_000);
            assert_shares(&picks, &[1.0, share]);
        }
    }

    #[test]
    fn where_all_are_in_a_slow_start_all_get_something() {
        fastrand::seed(12);
        let mut mock = mock(&[1, 0, 1]);
        mock.slow_start(0, Duration::from_secs(1_000_000));
        mock.slow_start(2, Duration::from_secs(1_000_000));
        let picks = picks(&RoundRobin::new(), &mock, 10_000);
        assert!(picks[0] > 3_000 && picks[2] > 3_000, "{picks:?}");
        assert_eq!((picks[1], picks.iter().sum::<usize>()), (0, 10_000));
    }
}

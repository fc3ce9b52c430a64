//! Lowest-latency policy.

use crate::http::head::RequestHead;

use super::{
    candidates::{Candidate, Candidates},
    policy::Balance,
    sampling::better_of_two,
};

/// Lowest-latency policy: of two random upstreams, picks the one with the shorter expected
/// handshake.
///
/// The two are drawn by weight, and of two with equal costs the first is used; the cost is the
/// [expected latency](Candidate::latency) times one plus the handshakes under way for each mean
/// weight, divided by the [readiness](Candidate::readiness) (linkerd's and tower's *peak EWMA*). A
/// slow handshake, probe or ping counts at once, and fades with time: an upstream that was slow
/// once is tried again within seconds.
///
/// An upstream of unknown latency is tried first, but by one handshake at a time: while that is
/// under way, its latency counts as equal to the other's.
#[derive(Clone, Copy, Debug, Default)]
pub struct LowestLatency {}

impl LowestLatency {
    /// Creates the policy.
    #[must_use]
    pub const fn new() -> Self {
        Self {}
    }
}

impl Balance for LowestLatency {
    fn pick(&self, candidates: &Candidates<'_>, _request: &RequestHead<'_>) -> Option<usize> {
        let mean_weight = candidates.mean_weight();
        better_of_two(candidates, |one, other| is_faster(one, other, mean_weight))
    }
}

fn is_faster(one: &Candidate<'_>, other: &Candidate<'_>, mean_weight: f64) -> bool {
    if is_untried(one) != is_untried(other) {
        return is_untried(one);
    }
    let known = one.latency().or(other.latency());
    let cost = |candidate: &Candidate<'_>| {
        let latency = candidate.latency().or(known);
        let seconds = latency.map_or(1.0, |latency| latency.as_secs_f64());
        let share = f64::from(candidate.weight()) / mean_weight;
        seconds * (1.0 + candidate.handshakes() as f64 / share) / candidate.readiness()
    };
    cost(one) < cost(other)
}

fn is_untried(candidate: &Candidate<'_>) -> bool {
    candidate.latency().is_none() && candidate.handshakes() == 0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::upstream::balance::{
        MockCandidates,
        testing::{assert_shares, mock, picks, picks_of},
    };

    const POLICY: LowestLatency = LowestLatency::new();

    /// Returns upstreams of these latencies in milliseconds.
    fn with_latencies(latencies: &[u64]) -> MockCandidates {
        let mut mock = mock(&vec![1; latencies.len()]);
        let now = Instant::now();
        for (index, latency) in latencies.iter().enumerate() {
            mock.sample_latency_at(index, Duration::from_millis(*latency), now);
        }
        mock
    }

    #[test]
    fn of_two_the_quicker_is_taken() {
        fastrand::seed(13);
        let shares = picks(&POLICY, &with_latencies(&[30, 10, 20]), 100_000);
        // The pairs are (0,1), (0,2) and (1,2).
        assert_shares(&shares, &[0., 2., 1.]);
        assert_shares(&picks(&POLICY, &with_latencies(&[7; 4]), 100_000), &[1.; 4]);
    }

    #[test]
    fn handshakes_under_way_add_to_the_wait() {
        let mut mock = with_latencies(&[10, 25]);
        mock.begin_handshake(0);
        assert_eq!(picks(&POLICY, &mock, 9), [9, 0], "20 against 25");
        mock.begin_handshake(0);
        assert_eq!(picks(&POLICY, &mock, 9), [0, 9], "30 against 25");
        mock.close(0);
        mock.open(0);
        assert_eq!(picks(&POLICY, &mock, 9), [9, 0], "tunnels do not count");
    }

    #[test]
    fn an_unknown_upstream_is_tried_first_by_one_handshake_at_a_time() {
        let mut mock = mock(&[1, 1]);
        mock.sample_latency(0, Duration::from_millis(1));
        assert_eq!(picks(&POLICY, &mock, 9), [0, 9]);
        mock.begin_handshake(1);
        assert_eq!(picks(&POLICY, &mock, 9), [9, 0]);
        mock.begin_handshake(0);
        mock.begin_handshake(0);
        assert_eq!(picks(&POLICY, &mock, 9), [0, 9]);
    }

    #[test]
    fn where_none_is_known_the_less_busy_is_taken() {
        fastrand::seed(14);
        let mut mock = mock(&[1, 1]);
        assert_shares(&picks(&POLICY, &mock, 100_000), &[1., 1.]);
        mock.begin_handshake(0);
        mock.begin_handshake(0);
        mock.begin_handshake(1);
        assert_eq!(picks(&POLICY, &mock, 9), [0, 9]);
    }

    #[test]
    fn an_upstream_that_was_slow_once_is_tried_again() {
        fastrand::seed(20);
        let mock = with_latencies(&[500, 10]);
        let now = Instant::now();
        assert_eq!(picks_of(&POLICY, &mock.candidates_at(now), 100), [0, 100]);
        // The other one goes on to be sampled, and the slow one's latency fades.
        let mut mock = mock;
        let later = now + Duration::from_secs(60);
        mock.sample_latency_at(1, Duration::from_millis(10), later);
        assert_eq!(picks_of(&POLICY, &mock.candidates_at(later), 100), [100, 0]);
    }

    #[test]
    fn shares_at_equal_latencies_are_as_the_weights() {
        fastrand::seed(21);
        let now = Instant::now();
        let mut mock = mock(&[1, 5, 2, 100]);
        for index in 0..4 {
            mock.sample_latency_at(index, Duration::from_millis(10), now);
        }
        let picks = picks_of(&POLICY, &mock.candidates_at(now), 100_000);
        assert_shares(&picks, &[1., 5., 2., 100.]);
    }

    #[test]
    fn none_is_picked_without_weight() {
        assert_eq!(picks(&POLICY, &mock(&[0, 0]), 10), [0, 0]);
        assert!(picks(&POLICY, &mock(&[]), 10).is_empty());
        assert_eq!(picks(&POLICY, &mock(&[0, 1]), 10), [0, 10]);
    }

    #[test]
    fn a_slow_start_has_room_for_a_growing_number_of_handshakes() {
        let mut mock = with_latencies(&[10, 10]);
        for _ in 0..99 {
            mock.begin_handshake(0);
        }
        mock.slow_start(1, Duration::from_secs(100));
        let began = Instant::now();
        let mut begun = 0;
        for (after, wanted) in [(10, 10), (50, 50), (100, 100)] {
            let now = began + Duration::from_secs(after);
            // Ties are broken at random.
            while begun < wanted && picks_of(&POLICY, &mock.candidates_at(now), 1)[1] == 1 {
                mock.begin_handshake(1);
                begun += 1;
            }
            assert!(i32::abs(begun - wanted) <= 2, "{begun} at {after} s");
        }
    }
}

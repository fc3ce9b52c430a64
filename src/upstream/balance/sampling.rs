//! Random samples of candidates.

use super::candidates::{Candidate, Candidates};

/// Candidate with its index.
pub(super) type Indexed<'a> = (usize, Candidate<'a>);

/// Draws two different candidates at random and returns the one to use: the second if it
/// `is_better` than the first, else the first. The order of the two is random too.
///
/// Candidates of weight 0 are never drawn.
pub(super) fn better_of_two<'a>(
    candidates: &Candidates<'a>,
    is_better: impl FnOnce(&Candidate<'a>, &Candidate<'a>) -> bool,
) -> Option<usize> {
    let (first, second) = two_at_random(candidates)?;
    match second {
        Some(second) if is_better(&second.1, &first.1) => Some(second.0),
        _ => Some(first.0),
    }
}

fn two_at_random<'a>(candidates: &Candidates<'a>) -> Option<(Indexed<'a>, Option<Indexed<'a>>)> {
    if candidates.len() >= 2 {
        let first = fastrand::usize(..candidates.len());
        let second = fastrand::usize(..candidates.len() - 1);
        let second = second + usize::from(second >= first);
        if let (Some(first), Some(second)) =
            (weighted(candidates, first), weighted(candidates, second))
        {
            return Some((first, Some(second)));
        }
    }
    two_with_weight(candidates)
}

fn weighted<'a>(candidates: &Candidates<'a>, index: usize) -> Option<Indexed<'a>> {
    let candidate = candidates.get(index)?;
    candidate.has_weight().then_some((index, candidate))
}

/// Slow path, if some candidates have no weight: a reservoir of two.
fn two_with_weight<'a>(candidates: &Candidates<'a>) -> Option<(Indexed<'a>, Option<Indexed<'a>>)> {
    let mut taken: [Option<Indexed<'a>>; 2] = [None, None];
    let weighted = candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| candidate.has_weight());
    for (seen, indexed) in weighted.enumerate() {
        let slot = if seen < 2 {
            seen
        } else {
            fastrand::usize(..=seen)
        };
        if let Some(slot) = taken.get_mut(slot) {
            *slot = Some(indexed);
        }
    }
    match taken {
        [Some(first), Some(second)] if fastrand::bool() => Some((second, Some(first))),
        [Some(first), second] => Some((first, second)),
        [None, _] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::balance::testing::{assert_shares, mock};

    /// Counts how often each ordered pair is drawn.
    fn pairs(weights: &[u32], times: usize) -> Vec<usize> {
        let mock = mock(weights);
        let candidates = mock.candidates();
        let mut pairs = vec![0; weights.len() * weights.len()];
        for _ in 0..times {
            let (first, second) = two_at_random(&candidates).unwrap();
            pairs[first.0 * weights.len() + second.unwrap().0] += 1;
        }
        pairs
    }

    #[test]
    fn every_pair_is_taken_as_often_in_either_order() {
        fastrand::seed(1);
        let picks = pairs(&[1, 1, 1], 100_000);
        assert_shares(&picks, &[0., 1., 1., 1., 0., 1., 1., 1., 0.]);
    }

    #[test]
    fn upstreams_without_weight_are_left_out_and_change_no_share() {
        fastrand::seed(2);
        let picks = pairs(&[1, 0, 1, 7], 100_000);
        let row = [
            [0., 0., 1., 1.],
            [0.; 4],
            [1., 0., 0., 1.],
            [1., 0., 1., 0.],
        ];
        assert_shares(&picks, row.as_flattened());
    }

    #[test]
    fn a_single_candidate_is_alone_and_none_is_none() {
        let one = mock(&[0, 1, 0]);
        let (first, second) = two_at_random(&one.candidates()).unwrap();
        assert_eq!((first.0, second.is_none()), (1, true));
        assert!(two_at_random(&mock(&[0, 0]).candidates()).is_none());
        assert!(two_at_random(&mock(&[]).candidates()).is_none());
    }
}

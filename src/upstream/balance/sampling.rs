//! Random samples of candidates.

use super::candidates::{Candidate, Candidates};

/// Candidate with its index.
pub(super) type Placed<'a> = (usize, Candidate<'a>);

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

fn two_at_random<'a>(candidates: &Candidates<'a>) -> Option<(Placed<'a>, Option<Placed<'a>>)> {
    if candidates.len() >= 2 {
        let first = fastrand::usize(..candidates.len());
        let second = fastrand::usize(..candidates.len() - 1);
        let second = second + usize::from(second >= first);
        if let (Some(first), Some(second)) = (wanted(candidates, first), wanted(candidates, second))
        {
            return Some((first, Some(second)));
        }
    }
    two_of_the_wanted(candidates)
}

fn wanted<'a>(candidates: &Candidates<'a>, index: usize) -> Option<Placed<'a>> {
    let candidate = candidates.get(index)?;
    candidate.is_wanted().then_some((index, candidate))
}

/// Slow path, if some candidates have no weight: a reservoir of two.
fn two_of_the_wanted<'a>(candidates: &Candidates<'a>) -> Option<(Placed<'a>, Option<Placed<'a>>)> {
    let mut taken: [Option<Placed<'a>>; 2] = [None, None];
    let wanted = candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| candidate.is_wanted());
    for (seen, placed) in wanted.enumerate() {
        let slot = if seen < 2 {
            seen
        } else {
            fastrand::usize(..=seen)
        };
        if let Some(slot) = taken.get_mut(slot) {
            *slot = Some(placed);
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
    use crate::upstream::balance::testing::{assert_shares, trial};

    /// Counts how often each ordered pair is drawn.
    fn pairs(weights: &[u32], times: usize) -> Vec<usize> {
        let trial = trial(weights);
        let candidates = trial.candidates();
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
    fn the_unwanted_are_left_out_and_change_no_share() {
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
    fn where_there_is_one_it_is_alone_and_where_there_is_none_so_be_it() {
        let one = trial(&[0, 1, 0]);
        let (first, second) = two_at_random(&one.candidates()).unwrap();
        assert_eq!((first.0, second.is_none()), (1, true));
        assert!(two_at_random(&trial(&[0, 0]).candidates()).is_none());
        assert!(two_at_random(&trial(&[]).candidates()).is_none());
    }
}

//! Random samples of candidates, by weight.

use super::{
    candidates::{Candidate, Candidates},
    weight_index::Drawn,
};

/// Candidate with its index.
pub(super) type Indexed<'a> = (usize, Candidate<'a>);

/// Number of draws before a pass over all candidates takes their place.
const MAX_DRAWS: usize = 8;

/// Draws two different candidates at random, by weight, and returns the one to use: the second if
/// it `is_better` than the first, else the first.
///
/// Candidates without weight or room are never drawn.
pub(super) fn better_of_two<'a>(
    candidates: &Candidates<'a>,
    is_better: impl FnOnce(&Candidate<'a>, &Candidate<'a>) -> bool,
) -> Option<usize> {
    let (first, second) = two_by_weight(candidates)?;
    match second {
        Some(second) if is_better(&second.1, &first.1) => Some(second.0),
        _ => Some(first.0),
    }
}

/// Draws one candidate at random, by effective weight.
pub(super) fn one_by_weight(candidates: &Candidates<'_>) -> Option<usize> {
    if let Some(weights) = candidates.list().weights(candidates.limits()) {
        let total = weights.total();
        if total == 0 {
            return None;
        }
        for _ in 0..MAX_DRAWS {
            let drawn = weights.find(fastrand::u64(..total));
            let drawn = candidates.at_place(drawn.index);
            let takes_share = |(_, candidate): &Indexed<'_>| {
                candidate.is_eligible()
                    && (candidate.is_ready() || fastrand::f64() < candidate.readiness())
            };
            if let Some((index, _)) = drawn.filter(takes_share) {
                return Some(index);
            }
        }
    }
    one_of_all(candidates)
}

fn two_by_weight<'a>(candidates: &Candidates<'a>) -> Option<(Indexed<'a>, Option<Indexed<'a>>)> {
    if candidates.list().is_uniform(candidates.limits()) && candidates.len() >= 2 {
        let first = fastrand::usize(..candidates.len());
        let second = fastrand::usize(..candidates.len() - 1);
        let second = second + usize::from(second >= first);
        if let (Some(first), Some(second)) =
            (eligible(candidates, first), eligible(candidates, second))
        {
            return Some((first, Some(second)));
        }
    } else if let Some(weights) = candidates.list().weights(candidates.limits()) {
        let total = weights.total();
        if total == 0 {
            return None;
        }
        let draw = |at| at_draw(candidates, weights.find(at));
        let first = (0..MAX_DRAWS).find_map(|_| draw(fastrand::u64(..total)));
        if let Some((drawn, first)) = first {
            let weight = u64::from(first.1.weight());
            let rest = total.saturating_sub(weight);
            if rest == 0 {
                return Some((first, None));
            }
            // The first one's weights are left out of the second draw.
            let leave_out = |at| if at < drawn.before { at } else { at + weight };
            let second = (0..MAX_DRAWS)
                .filter_map(|_| draw(leave_out(fastrand::u64(..rest))))
                .find(|(_, second)| second.0 != first.0);
            if let Some((_, second)) = second {
                return Some((first, Some(second)));
            }
        }
    }
    two_of_all(candidates)
}

fn at_draw<'a>(candidates: &Candidates<'a>, drawn: Drawn) -> Option<(Drawn, Indexed<'a>)> {
    let indexed = candidates.at_place(drawn.index)?;
    indexed.1.is_eligible().then_some((drawn, indexed))
}

fn eligible<'a>(candidates: &Candidates<'a>, index: usize) -> Option<Indexed<'a>> {
    let candidate = candidates.get(index)?;
    candidate.is_eligible().then_some((index, candidate))
}

/// Draws one in a single pass: each candidate replaces the pick with a probability of its share of
/// the total so far. The pick therefore survives until a total of `x` with probability `whole / x`,
/// and one random number decides at which total it is replaced.
fn one_of_all(candidates: &Candidates<'_>) -> Option<usize> {
    let mut picked = None;
    let (mut whole, mut replaced_above) = (0.0, 0.0);
    for (index, candidate) in candidates.iter().enumerate() {
        if !candidate.is_eligible() {
            continue;
        }
        whole += candidate.effective_weight();
        if whole > replaced_above {
            picked = Some(index);
            replaced_above = whole / (1.0 - fastrand::f64());
        }
    }
    picked
}

/// Draws two in a single pass: an exponential race, in which a candidate's time is short if its
/// weight is high; the first two to arrive are drawn, in this order.
fn two_of_all<'a>(candidates: &Candidates<'a>) -> Option<(Indexed<'a>, Option<Indexed<'a>>)> {
    let mut first: Option<(f64, Indexed<'a>)> = None;
    let mut second: Option<(f64, Indexed<'a>)> = None;
    for indexed in candidates.iter().enumerate() {
        if !indexed.1.is_eligible() {
            continue;
        }
        let time = -(1.0 - fastrand::f64()).ln() / f64::from(indexed.1.weight());
        let is_before = |other: &Option<(f64, _)>| other.is_none_or(|(other, _)| time < other);
        if is_before(&first) {
            second = first.replace((time, indexed));
        } else if is_before(&second) {
            second = Some((time, indexed));
        }
    }
    let (_, first) = first?;
    Some((first, second.map(|(_, second)| second)))
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
            let (first, second) = two_by_weight(&candidates).unwrap();
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
    fn pairs_are_drawn_by_weight_without_replacement() {
        fastrand::seed(2);
        let weights = [1, 0, 1, 7];
        let whole: u32 = weights.iter().sum();
        let share = |first: usize, second: usize| {
            let [first_weight, second_weight] = [weights[first], weights[second]].map(f64::from);
            match first == second {
                true => 0.0,
                false => first_weight * second_weight / (f64::from(whole) - first_weight),
            }
        };
        let shares: Vec<_> = (0..16).map(|pair| share(pair / 4, pair % 4)).collect();
        assert_shares(&pairs(&weights, 100_000), &shares);

        // The same in a pass over all candidates.
        let mock = mock(&weights);
        let mut pairs = vec![0; 16];
        for _ in 0..100_000 {
            let (first, second) = two_of_all(&mock.candidates()).unwrap();
            pairs[first.0 * 4 + second.unwrap().0] += 1;
        }
        assert_shares(&pairs, &shares);
    }

    #[test]
    fn a_single_candidate_is_alone_and_none_is_none() {
        let one = mock(&[0, 1, 0]);
        let (first, second) = two_by_weight(&one.candidates()).unwrap();
        assert_eq!((first.0, second.is_none()), (1, true));
        assert!(two_by_weight(&mock(&[0, 0]).candidates()).is_none());
        assert!(two_by_weight(&mock(&[]).candidates()).is_none());
    }
}

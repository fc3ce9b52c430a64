//! Truth values for conditions on a host that is invalid.

use std::sync::atomic::{AtomicU32, Ordering};

/// Assignments that are evaluated at most. A matcher with more conditions on the host than this
/// leaves room for owns the request, which is then rejected.
const MAX_ASSIGNMENTS: usize = 64;

/// Truth values that conditions on an invalid host take in one evaluation of a matcher, in the order
/// in which the matcher asks.
#[derive(Debug)]
pub(super) struct TruthAssignment {
    /// One bit for each condition; conditions beyond the last bit are false.
    values: u64,
    asked: AtomicU32,
}

impl TruthAssignment {
    const fn new(values: u64) -> Self {
        Self {
            values,
            asked: AtomicU32::new(0),
        }
    }

    /// Returns the truth value of the next condition.
    pub(super) fn next(&self) -> bool {
        let index = self.asked.fetch_add(1, Ordering::Relaxed);
        self.values.checked_shr(index).unwrap_or(0) & 1 == 1
    }

    /// Returns the next assignment, counted as a binary number over the conditions that were asked
    /// for, the last of them lowest.
    fn following(&self) -> Option<u64> {
        let asked = self.asked.load(Ordering::Relaxed).min(u64::BITS);
        let index = (0..asked)
            .rev()
            .find(|index| self.values >> index & 1 == 0)?;
        Some(self.values & ((1 << index) - 1) | 1 << index)
    }
}

/// Returns whether `test` holds for any assignment of truth values to the conditions that it asks
/// for; `true` also where there are too many to evaluate.
pub(super) fn holds_for_any(test: impl Fn(&TruthAssignment) -> bool) -> bool {
    let mut values = 0;
    for _ in 0..MAX_ASSIGNMENTS {
        let assumed = TruthAssignment::new(values);
        if test(&assumed) {
            return true;
        }
        match assumed.following() {
            Some(next) => values = next,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_assignment_of_three_conditions_is_tried() {
        for wanted in 0..8_u8 {
            let is_tried = holds_for_any(|assumed| {
                let values = [0, 1, 2].map(|bit| u8::from(assumed.next()) << bit);
                values.iter().sum::<u8>() == wanted
            });
            assert!(is_tried, "{wanted}");
        }
    }

    #[test]
    fn conditions_that_are_not_reached_cost_nothing() {
        let runs = AtomicU32::new(0);
        let holds = holds_for_any(|assumed| {
            runs.fetch_add(1, Ordering::Relaxed);
            // A chain of `and`: a false condition ends the evaluation.
            let _ = (0..20).all(|_| assumed.next());
            false
        });
        assert!(!holds);
        assert_eq!(runs.into_inner(), 21);
    }

    #[test]
    fn a_test_without_conditions_runs_once() {
        assert!(holds_for_any(|_| true));
        assert!(!holds_for_any(|_| false));
    }

    #[test]
    fn too_many_conditions_hold() {
        assert!(holds_for_any(|assumed| {
            let _ = (0..20)
                .map(|_| assumed.next())
                .filter(|value| *value)
                .count();
            false
        }));
    }
}

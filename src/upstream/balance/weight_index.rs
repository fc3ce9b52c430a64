//! Index of weights, from which candidates are drawn in proportion to them. Pure.

use std::sync::atomic::{AtomicU64, Ordering};

/// Weights of a list of candidates, as a Fenwick tree: a draw or a change takes O(log n).
///
/// A draw beside a change may see a part of it, so the candidate drawn needs a look of its own.
#[derive(Debug)]
pub(super) struct WeightIndex {
    /// Node `i`, from 1, holds the sum of the weights from `i - (i & -i)` to below `i`; the last
    /// node holds the total.
    sums: Box<[AtomicU64]>,
}

/// Position that was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Drawn {
    pub(super) index: usize,
    /// Sum of the weights before it.
    pub(super) before: u64,
}

impl WeightIndex {
    pub(super) fn new(weights: impl ExactSizeIterator<Item = u32>) -> Self {
        let size = weights.len().next_power_of_two();
        let mut sums = vec![0_u64; size + 1];
        for (sum, weight) in sums.iter_mut().skip(1).zip(weights) {
            *sum = weight.into();
        }
        for node in 1..size {
            sums[node + lowest_bit(node)] += sums[node];
        }
        Self {
            sums: sums.into_iter().map(AtomicU64::new).collect(),
        }
    }

    pub(super) fn total(&self) -> u64 {
        let total = self.sums.last();
        total.map_or(0, |total| total.load(Ordering::Relaxed))
    }

    pub(super) fn add(&self, index: usize, weight: u32) {
        self.for_each_sum(index, |sum| {
            sum.fetch_add(weight.into(), Ordering::Relaxed);
        });
    }

    pub(super) fn subtract(&self, index: usize, weight: u32) {
        self.for_each_sum(index, |sum| {
            sum.fetch_sub(weight.into(), Ordering::Relaxed);
        });
    }

    /// Returns the position at which the running sum of the weights exceeds `at`, which is to be
    /// less than the total.
    pub(super) fn find(&self, at: u64) -> Drawn {
        let (mut index, mut rest) = (0, at);
        let mut step = self.size();
        while step > 0 {
            if let Some(sum) = self.sums.get(index + step) {
                let sum = sum.load(Ordering::Relaxed);
                if sum <= rest {
                    index += step;
                    rest -= sum;
                }
            }
            step /= 2;
        }
        Drawn {
            index,
            before: at - rest,
        }
    }

    fn for_each_sum(&self, index: usize, change: impl Fn(&AtomicU64)) {
        let mut node = index + 1;
        while let Some(sum) = self.sums.get(node) {
            change(sum);
            node += lowest_bit(node);
        }
    }

    fn size(&self) -> usize {
        self.sums.len() - 1
    }
}

const fn lowest_bit(node: usize) -> usize {
    node & node.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_position_is_found_as_often_as_its_weight(
            weights in proptest::collection::vec(0..9_u32, 0..40),
            off in 0..40_usize,
        ) {
            let index = WeightIndex::new(weights.iter().copied());
            let mut expected = weights.clone();
            let removed = expected.get_mut(off).map(std::mem::take);
            if let Some(removed) = removed {
                index.subtract(off, removed);
            }
            let mut found = vec![0; weights.len()];
            for at in 0..index.total() {
                let drawn = index.find(at);
                let before: u32 = expected[..drawn.index].iter().sum();
                prop_assert_eq!(drawn.before, u64::from(before));
                found[drawn.index] += 1;
            }
            prop_assert_eq!(found, expected);
            if let Some(removed) = removed {
                index.add(off, removed);
            }
            prop_assert_eq!(index.total(), weights.iter().copied().map(u64::from).sum::<u64>());
        }
    }
}

//! The choices of a case: from a seed, or from the bytes of a fuzzer.

use super::rng::Xorshift;

/// A source of choices.
pub(crate) trait Dice {
    /// A number below `bound`, which is not zero.
    fn below(&mut self, bound: usize) -> usize;

    /// Whether there are choices left.
    fn has_more(&self) -> bool;

    /// Bytes of a payload.
    fn bytes(&mut self, len: usize) -> Vec<u8>;

    /// One of these.
    fn pick<T: Copy, const N: usize>(&mut self, of: [T; N]) -> T {
        of[self.below(N)]
    }

    /// Whether one of so many cases has come.
    fn is_one_of(&mut self, cases: usize) -> bool {
        self.below(cases) == 0
    }

    /// From one to so many.
    fn up_to(&mut self, most: usize) -> u64 {
        1 + self.below(most) as u64
    }
}

impl Dice for Xorshift {
    fn below(&mut self, bound: usize) -> usize {
        Self::below(self, bound)
    }

    fn has_more(&self) -> bool {
        true
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        Self::bytes(self, len)
    }
}

/// As few of these steps as make a case fail.
pub(crate) fn reduced<S: Clone>(mut steps: Vec<S>, fails: impl Fn(&[S]) -> bool) -> Vec<S> {
    let mut len = steps.len();
    while len > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut less = steps.clone();
            less.drain(at..(at + len).min(steps.len()));
            match fails(&less) {
                true => steps = less,
                false => at += len,
            }
        }
        len /= 2;
    }
    steps
}

/// The bytes of a fuzzer: each choice takes as few of them as can express it, so that a change of
/// one byte changes one choice. When they run out, every choice is the first.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl Dice for Input<'_> {
    fn below(&mut self, bound: usize) -> usize {
        let (mut number, mut reach) = (0, 1);
        while reach < bound {
            let Some((first, rest)) = self.0.split_first() else {
                break;
            };
            self.0 = rest;
            number = number << 8 | usize::from(*first);
            reach <<= 8;
        }
        number % bound
    }

    fn has_more(&self) -> bool {
        !self.0.is_empty()
    }

    /// Two bytes choose a payload of any length.
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        Xorshift::new(self.below(1 << 16) as u64).bytes(len)
    }
}

//! The cases of a property test, each of which is made from a number.
//!
//! | variable of the set `ENDS` | |
//! |---|---|
//! | `WSPLICE_ENDS_CASES` | how many cases run, in place of the usual count |
//! | `WSPLICE_ENDS_FIRST` | the number of the first, in place of 1 |
//! | `WSPLICE_ENDS_SEED` | the number of the only one |

use std::{env, ops::RangeInclusive};

/// The numbers of the cases to run.
pub(crate) struct Cases {
    pub(crate) numbers: RangeInclusive<u64>,
    /// Whether there are as many as usual, so that each kind of outcome can be expected among them.
    pub(crate) are_many: bool,
}

impl Cases {
    /// The cases of this set, `usual` of them unless the environment says otherwise.
    pub(crate) fn of(set: &str, usual: u64) -> Self {
        Self::read(usual, |name| {
            let value = env::var(format!("WSPLICE_{set}_{name}")).ok()?;
            Some(value.parse().expect("a number"))
        })
    }

    fn read(usual: u64, number: impl Fn(&str) -> Option<u64>) -> Self {
        if let Some(seed) = number("SEED") {
            return Self {
                numbers: seed..=seed,
                are_many: false,
            };
        }
        let first = number("FIRST").unwrap_or(1);
        let count = number("CASES").unwrap_or(usual);
        Self {
            numbers: first..=first + count - 1,
            are_many: count >= usual,
        }
    }
}

/// The command that runs the case of this number alone.
pub(crate) fn again(set: &str, number: u64, test: &str) -> String {
    format!("again: WSPLICE_{set}_SEED={number} cargo test --all-features --test it {test}")
}

#[test]
fn the_environment_chooses_the_cases() {
    let cases = |variables: &[(&str, u64)]| {
        let Cases { numbers, are_many } = Cases::read(600, |name| {
            let mut variables = variables.iter();
            Some(variables.find(|(it, _)| *it == name)?.1)
        });
        (*numbers.start(), *numbers.end(), are_many)
    };
    assert_eq!(cases(&[]), (1, 600, true));
    assert_eq!(cases(&[("CASES", 5_000)]), (1, 5_000, true));
    assert_eq!(cases(&[("CASES", 9), ("FIRST", 40)]), (40, 48, false));
    assert_eq!(cases(&[("FIRST", 40)]), (40, 639, true));
    assert_eq!(cases(&[("SEED", 17), ("CASES", 9)]), (17, 17, false));
}

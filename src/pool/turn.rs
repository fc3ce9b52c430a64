//! Work that one thread at a time does, for all.

use std::sync::{Mutex, TryLockError};

/// Turn to do work that several threads cause: one of them does it, and the others do not wait.
#[derive(Debug, Default)]
pub(super) struct Turn(Mutex<()>);

impl Turn {
    /// Calls `act` while there is work, unless another call is about it, in another thread or further
    /// up in this one. That call sees the work that comes up meanwhile, as it looks once more after its
    /// turn.
    pub(super) fn act_while(&self, mut has_work: impl FnMut() -> bool, mut act: impl FnMut()) {
        while has_work() {
            let _turn = match self.0.try_lock() {
                Ok(turn) => turn,
                // Code of the host has panicked in its turn.
                Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            act();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn work_that_comes_up_at_the_end_of_a_turn_is_done() {
        let turn = Turn::default();
        let (work, acts) = (Cell::new(1), Cell::new(0));
        let has_work = || {
            let is_free = turn.0.try_lock().is_ok();
            assert!(is_free, "work that comes up now would be left to this turn");
            work.get() > 0
        };
        turn.act_while(has_work, || {
            acts.set(acts.get() + 1);
            work.set(work.get() - 1);
            if acts.get() == 1 {
                work.set(1);
                turn.act_while(|| true, || panic!("two turns at once"));
            }
        });
        assert_eq!((acts.get(), work.get()), (2, 0));
    }

    #[test]
    fn a_turn_that_panics_is_followed_by_others() {
        let turn = Turn::default();
        let panics = std::panic::AssertUnwindSafe(|| turn.act_while(|| true, || panic!("a host")));
        assert!(std::panic::catch_unwind(panics).is_err());
        let work = Cell::new(true);
        turn.act_while(|| work.get(), || work.set(false));
        assert!(!work.get());
    }
}

//! A mutex that code of the host may run under.

use std::{
    cell::Cell,
    fmt,
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard},
};

use crate::lock::lock;

thread_local! {
    /// Rank of the innermost [`Guarded`] that this thread has locked.
    static HELD: Cell<Option<LockRank>> = const { Cell::new(None) };
}

/// Place of a lock in the order in which a thread may take locks: the lower first, and one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LockRank {
    /// The edits of a pool.
    Edits,
    /// The health of an upstream.
    Health,
}

/// Data in a [`Guarded`].
pub(crate) trait Ranked {
    /// Rank of its lock.
    const RANK: LockRank;
}

/// Mutex that refuses a thread that would take locks out of their order, instead of a deadlock.
///
/// Policies of the host run while it is locked. If one of them calls a pool, the call panics before it
/// has changed anything, and the caller of the policy catches the panic. A poisoned lock is used on: the
/// data is consistent after every statement under it.
#[derive(Default)]
pub(crate) struct Guarded<T>(Mutex<T>);

pub(crate) struct GuardedGuard<'a, T> {
    guard: MutexGuard<'a, T>,
    /// Rank that the thread held before.
    outer: Option<LockRank>,
}

/// Panics if this thread runs code of the host under a lock, from which a pool must not be called.
pub(crate) fn refuse_under_lock() {
    assert_before(LockRank::Edits);
}

fn assert_before(rank: LockRank) -> Option<LockRank> {
    let held = HELD.get();
    assert!(
        held.is_none_or(|held| held < rank),
        "a policy that runs while a pool is locked must not call a pool",
    );
    held
}

impl<T: Ranked> Guarded<T> {
    pub(crate) fn lock(&self) -> GuardedGuard<'_, T> {
        let outer = assert_before(T::RANK);
        let guard = lock(&self.0);
        HELD.set(Some(T::RANK));
        GuardedGuard { guard, outer }
    }

    /// Whether no thread holds the lock.
    #[cfg(test)]
    pub(crate) fn is_free(&self) -> bool {
        self.0.try_lock().is_ok()
    }
}

impl<T> Deref for GuardedGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for GuardedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T> Drop for GuardedGuard<'_, T> {
    fn drop(&mut self) {
        HELD.set(self.outer);
    }
}

impl<T> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[derive(Default)]
    struct Edits(u8);

    #[derive(Default)]
    struct Health(u8);

    impl Ranked for Edits {
        const RANK: LockRank = LockRank::Edits;
    }

    impl Ranked for Health {
        const RANK: LockRank = LockRank::Health;
    }

    /// Takes a lock of another pool or upstream while one is held.
    fn take<Outer: Ranked + Default, Inner: Ranked + Default>() -> Result<(), String> {
        let (outer, inner) = (Guarded::<Outer>::default(), Guarded::<Inner>::default());
        let both = catch_unwind(AssertUnwindSafe(|| {
            let _held = outer.lock();
            drop(inner.lock());
        }));
        drop((outer.lock(), "free again"));
        both.map_err(|message| (*message.downcast_ref::<&str>().unwrap()).to_owned())
    }

    #[test]
    fn locks_are_taken_in_their_order_or_refused() {
        assert_eq!(take::<Edits, Health>(), Ok(()));
        for refused in [
            take::<Edits, Edits>(),
            take::<Health, Edits>(),
            take::<Health, Health>(),
        ] {
            let message = refused.unwrap_err();
            assert!(message.starts_with("a policy that runs while a pool is locked"));
        }
    }

    #[test]
    fn a_holder_that_locks_again_is_refused_and_the_lock_goes_on() {
        let guarded = Guarded::<Health>::default();
        let again = catch_unwind(AssertUnwindSafe(|| {
            let _held = guarded.lock();
            guarded.lock().0 = 1;
        }));
        assert!(again.is_err());
        guarded.lock().0 += 2;
        assert_eq!(guarded.lock().0, 2);
    }

    #[test]
    fn after_an_inner_lock_the_outer_one_is_still_held() {
        let (edits, health) = (Guarded::<Edits>::default(), Guarded::<Health>::default());
        let mut held = edits.lock();
        drop(health.lock());
        assert!(catch_unwind(refuse_under_lock).is_err());
        held.0 = 1;
        drop(held);
        refuse_under_lock();
    }
}

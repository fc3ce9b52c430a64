//! A mutex that code of the host may run under.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard},
    thread::{self, ThreadId},
};

use crate::lock::lock;

/// Mutex that refuses to be locked again by its holder, instead of a deadlock.
///
/// Policies of the host run while it is locked. If one of them calls the pool, the call panics with
/// a message, and whoever called the policy catches the panic. A poisoned lock is used on: the data
/// is consistent after every statement under it.
#[derive(Default)]
pub(crate) struct Guarded<T> {
    mutex: Mutex<T>,
    holder: Mutex<Option<ThreadId>>,
}

pub(crate) struct GuardedGuard<'a, T> {
    guard: MutexGuard<'a, T>,
    holder: &'a Mutex<Option<ThreadId>>,
}

impl<T> Guarded<T> {
    pub(crate) fn lock(&self) -> GuardedGuard<'_, T> {
        let this = Some(thread::current().id());
        assert!(
            *lock(&self.holder) != this,
            "a policy of the pool must not call the pool: the pool is locked while it runs",
        );
        let guard = lock(&self.mutex);
        *lock(&self.holder) = this;
        GuardedGuard {
            guard,
            holder: &self.holder,
        }
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
        *lock(self.holder) = None;
    }
}

impl<T> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_that_locks_again_is_refused_and_the_lock_goes_on() {
        let guarded = Guarded::<u8>::default();
        let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _held = guarded.lock();
            *guarded.lock() = 1;
        }));
        let message = again.unwrap_err();
        let message = message.downcast_ref::<&str>().unwrap();
        assert!(message.starts_with("a policy of the pool must not call the pool"));
        *guarded.lock() += 2;
        assert_eq!(*guarded.lock(), 2);
    }
}

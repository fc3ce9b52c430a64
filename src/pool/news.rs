//! Telling observers and the log what changed, in the order in which it did.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak},
};

use crate::{
    observe::{Observer, UpstreamChange},
    upstream::health::Transition,
};

/// What is still to be told, and whom.
///
/// A change is put in while the lock is held under which it happened, and told once no lock is:
/// so two changes of one upstream are never told the wrong way round, and an observer may use the
/// pool.
#[derive(Debug, Default)]
pub(super) struct News {
    untold: Mutex<VecDeque<(Arc<str>, Change)>>,
    /// Held by whoever tells; it tells what others put in meanwhile, too.
    telling: Mutex<()>,
    /// Each belongs to a layer, and goes with it.
    observers: Mutex<Vec<Weak<dyn Observer>>>,
}

/// What happened to an upstream.
#[derive(Debug)]
pub(super) enum Change {
    Health {
        transition: Transition,
        /// Why, for people.
        why: Arc<str>,
    },
    Upstream(UpstreamChange),
}

impl News {
    /// Shows an observer what happens from now on, for as long as there is one.
    pub(super) fn attach(&self, observer: &Arc<dyn Observer>) {
        let mut observers = lock(&self.observers);
        observers.retain(|observer| observer.strong_count() > 0);
        observers.push(Arc::downgrade(observer));
    }

    pub(super) fn push(&self, upstream: Arc<str>, change: Change) {
        lock(&self.untold).push_back((upstream, change));
    }

    /// Tells all there is. To be called without a lock.
    pub(super) fn tell(&self) {
        while !lock(&self.untold).is_empty() {
            let _telling = match self.telling.try_lock() {
                Ok(telling) => telling,
                // An observer has panicked; that is no reason not to tell the others.
                Err(TryLockError::Poisoned(telling)) => telling.into_inner(),
                // Who tells looks again afterwards.
                Err(TryLockError::WouldBlock) => return,
            };
            while let Some((upstream, change)) = self.next() {
                log(&upstream, &change);
                for observer in self.observers() {
                    show(&*observer, &upstream, &change);
                }
            }
        }
    }

    fn next(&self) -> Option<(Arc<str>, Change)> {
        lock(&self.untold).pop_front()
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        lock(&self.observers).len()
    }

    pub(super) fn observers(&self) -> Vec<Arc<dyn Observer>> {
        let observers = lock(&self.observers);
        observers.iter().filter_map(Weak::upgrade).collect()
    }
}

fn show(observer: &dyn Observer, upstream: &str, change: &Change) {
    match change {
        Change::Health { transition, .. } => observer.health_changed(upstream, transition),
        Change::Upstream(change) => observer.upstream_changed(upstream, *change),
    }
}

fn log(upstream: &str, change: &Change) {
    match change {
        Change::Health { transition, why } => {
            let cause = &**why;
            match transition {
                Transition::Unhealthy { .. } => {
                    tracing::warn!(upstream, cause, "upstream unhealthy");
                }
                Transition::Healthy => tracing::info!(upstream, cause, "upstream healthy"),
                Transition::HalfOpen => tracing::info!(upstream, cause, "upstream on trial"),
            }
        }
        Change::Upstream(change) => tracing::info!(upstream, "upstream {change}"),
    }
}

/// The data is whole after every statement under the lock, so a panic elsewhere harms nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

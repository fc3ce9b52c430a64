//! Notifications of changes to observers and the log, in order.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak},
};

use crate::{
    observe::{Observer, UpstreamChange},
    upstream::health::Transition,
};

/// Pending notifications, and their observers.
///
/// A change is queued while the lock is held under which it happened, and reported once no lock is
/// held: two changes of one upstream are never reported in the wrong order, and an observer may use
/// the pool.
#[derive(Debug, Default)]
pub(super) struct News {
    untold: Mutex<VecDeque<(Arc<str>, Change)>>,
    /// Held during reports; its holder also reports what others queue meanwhile.
    telling: Mutex<()>,
    /// Each belongs to a layer, and is dropped with it.
    observers: Mutex<Vec<Weak<dyn Observer>>>,
}

/// Change of an upstream.
#[derive(Debug)]
pub(super) enum Change {
    Health {
        transition: Transition,
        /// Human-readable cause.
        why: Arc<str>,
    },
    Upstream(UpstreamChange),
}

impl News {
    /// Adds an observer, for as long as it lives.
    pub(super) fn attach(&self, observer: &Arc<dyn Observer>) {
        let mut observers = lock(&self.observers);
        observers.retain(|observer| observer.strong_count() > 0);
        observers.push(Arc::downgrade(observer));
    }

    pub(super) fn push(&self, upstream: Arc<str>, change: Change) {
        lock(&self.untold).push_back((upstream, change));
    }

    /// Reports all pending changes. Call it without a lock held.
    pub(super) fn tell(&self) {
        while !lock(&self.untold).is_empty() {
            let _telling = match self.telling.try_lock() {
                Ok(telling) => telling,
                // An observer has panicked; the others are notified nevertheless.
                Err(TryLockError::Poisoned(telling)) => telling.into_inner(),
                // The holder looks again afterwards.
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

/// Locks a mutex. A poisoned lock is used on: the data is consistent after every statement under
/// it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

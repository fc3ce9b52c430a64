//! Notifications of changes to observers and the log, in order.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, TryLockError, Weak},
};

use crate::{
    escaped::Escaped,
    lock::lock,
    observe::{MembershipChange, Observer},
    upstream::health::HealthTransition,
};

/// Pending notifications, and their observers.
///
/// A change is queued while the lock is held under which it happened, and reported once no lock is
/// held: two changes of one upstream are never reported in the wrong order, and an observer may use
/// the pool.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    pending: Mutex<VecDeque<(Arc<str>, PoolChange)>>,
    /// Held during reports; its holder also reports what others queue meanwhile.
    notifying: Mutex<()>,
    /// Each belongs to a layer, and is dropped with it.
    observers: Mutex<Vec<Weak<dyn Observer>>>,
}

/// Change of an upstream.
#[derive(Debug)]
pub(super) enum PoolChange {
    Health {
        transition: HealthTransition,
        /// Human-readable cause.
        cause: Arc<str>,
    },
    Upstream(MembershipChange),
}

impl Notifier {
    /// Adds an observer, for as long as it lives.
    pub(super) fn attach(&self, observer: &Arc<dyn Observer>) {
        let mut observers = lock(&self.observers);
        observers.retain(|observer| observer.strong_count() > 0);
        observers.push(Arc::downgrade(observer));
    }

    pub(super) fn push(&self, upstream: Arc<str>, change: PoolChange) {
        lock(&self.pending).push_back((upstream, change));
    }

    /// Reports all pending changes. Call it without a lock held.
    pub(super) fn notify(&self) {
        while !lock(&self.pending).is_empty() {
            let _notifying = match self.notifying.try_lock() {
                Ok(notifying) => notifying,
                // An observer has panicked; the others are notified nevertheless.
                Err(TryLockError::Poisoned(notifying)) => notifying.into_inner(),
                // The holder looks again afterwards.
                Err(TryLockError::WouldBlock) => return,
            };
            while let Some((upstream, change)) = self.next() {
                log(&upstream, &change);
                for observer in self.observers() {
                    report(&*observer, &upstream, &change);
                }
            }
        }
    }

    fn next(&self) -> Option<(Arc<str>, PoolChange)> {
        lock(&self.pending).pop_front()
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

fn report(observer: &dyn Observer, upstream: &str, change: &PoolChange) {
    match change {
        PoolChange::Health { transition, .. } => observer.health_changed(upstream, transition),
        PoolChange::Upstream(change) => observer.upstream_changed(upstream, *change),
    }
}

fn log(upstream: &str, change: &PoolChange) {
    match change {
        PoolChange::Health { transition, cause } => {
            let (upstream, cause) = (Escaped(upstream), Escaped(cause));
            match transition {
                HealthTransition::Unhealthy { .. } => {
                    tracing::warn!(%upstream, %cause, "upstream unhealthy");
                }
                HealthTransition::Healthy => tracing::warn!(%upstream, %cause, "upstream healthy"),
                HealthTransition::HalfOpen => {
                    tracing::warn!(%upstream, %cause, "upstream half-open");
                }
            }
        }
        PoolChange::Upstream(change) => {
            tracing::info!(upstream = %Escaped(upstream), "upstream {change}");
        }
    }
}

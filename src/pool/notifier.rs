//! Notifications of changes to observers and the log, in order.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, Weak},
};

use crate::{
    escaped::Escaped,
    lock::lock,
    observe::{MembershipChange, Observer, UpstreamInfo},
    task::catch_panic,
    upstream::health::HealthTransition,
};

use super::turn::Turn;

/// Pending notifications, and their observers.
///
/// A change is queued while the lock is held under which it happened, and reported once no lock is
/// held: two changes of one upstream are never reported in the wrong order, and an observer may use
/// the pool.
#[derive(Debug)]
pub(super) struct Notifier {
    /// Name of the pool.
    pool: Option<Arc<str>>,
    pending: Mutex<VecDeque<(Arc<str>, PoolChange)>>,
    /// Turn to report.
    notifying: Turn,
    /// Each belongs to a layer or a handle, and is dropped with it.
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
    pub(super) fn new(pool: Option<Arc<str>>) -> Self {
        Self {
            pool,
            pending: Mutex::default(),
            notifying: Turn::default(),
            observers: Mutex::default(),
        }
    }

    /// Returns the upstream of this name as observers see it.
    pub(super) fn info<'a>(&'a self, upstream: &'a str) -> UpstreamInfo<'a> {
        UpstreamInfo::new(self.pool.as_deref(), upstream)
    }

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
        let has_work = || !lock(&self.pending).is_empty();
        self.notifying.act_while(has_work, || {
            while let Some((upstream, change)) = self.next() {
                let upstream = self.info(&upstream);
                log(&upstream, &change);
                for observer in self.observers() {
                    if catch_panic(|| report(&*observer, &upstream, &change)).is_err() {
                        tracing::error!("an observer panicked");
                    }
                }
            }
        });
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

fn report(observer: &dyn Observer, upstream: &UpstreamInfo<'_>, change: &PoolChange) {
    match change {
        PoolChange::Health { transition, .. } => observer.health_changed(upstream, transition),
        PoolChange::Upstream(change) => observer.upstream_changed(upstream, *change),
    }
}

fn log(upstream: &UpstreamInfo<'_>, change: &PoolChange) {
    let UpstreamInfo { pool, name } = *upstream;
    match change {
        PoolChange::Health { transition, cause } => {
            let (upstream, cause) = (Escaped(name), Escaped(cause));
            match transition {
                HealthTransition::Unhealthy { .. } => {
                    tracing::warn!(pool, %upstream, %cause, "upstream unhealthy");
                }
                HealthTransition::Healthy => {
                    tracing::warn!(pool, %upstream, %cause, "upstream healthy");
                }
                HealthTransition::HalfOpen => {
                    tracing::warn!(pool, %upstream, %cause, "upstream half-open");
                }
            }
        }
        PoolChange::Upstream(change) => {
            tracing::info!(pool, upstream = %Escaped(name), "upstream {change}");
        }
    }
}

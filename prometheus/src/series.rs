//! The series of one name, and the presence of the upstreams that have some.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use wsplice::observe::MembershipChange;

use crate::{labels::Key, set::MetricSet};

/// Time for which the series of an upstream stay after it left and its last tunnel ended.
const DEPARTED_TTL: Duration = Duration::from_secs(600);

/// The series with one name as their label `pool`, for all that is observed under it.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) set: Arc<MetricSet>,
    name: Arc<str>,
    /// By name.
    presences: Mutex<HashMap<Arc<str>, Presence>>,
}

/// Presence of an upstream in the pool.
#[derive(Debug, Default)]
struct Presence {
    open: u64,
    /// When it left the pool, or its last tunnel ended thereafter.
    departed: Option<Instant>,
}

impl Series {
    pub(crate) fn new(set: Arc<MetricSet>, name: Arc<str>) -> Self {
        Self {
            set,
            name,
            presences: Mutex::default(),
        }
    }

    pub(crate) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Notes which upstreams are in a pool, as a scrape has found them: one that left may be in another
    /// pool of the name.
    pub(crate) fn note_present<T>(&self, present: &BTreeMap<Arc<str>, T>, now: Instant) {
        for (upstream, presence) in &mut *self.presences() {
            match present.contains_key(upstream) {
                true => presence.departed = None,
                false => drop(presence.departed.get_or_insert(now)),
            }
        }
    }

    /// Removes the series of upstreams that left long ago.
    pub(crate) fn forget_departed(&self, now: Instant) {
        self.presences().retain(|upstream, presence| {
            let is_kept = presence.open > 0
                || presence
                    .departed
                    .is_none_or(|departed| now.duration_since(departed) < DEPARTED_TTL);
            if !is_kept {
                self.set.forget(&self.name, upstream);
            }
            is_kept
        });
    }

    /// Returns the key of a series of the pool.
    pub(crate) fn of_pool<const N: usize>(&self, values: [&'static str; N]) -> Key<N> {
        Key {
            pool: Arc::clone(&self.name),
            upstream: None,
            values,
        }
    }

    /// Returns the key of a series of an upstream, or of none.
    pub(crate) fn of_upstream<const N: usize>(
        &self,
        upstream: Option<&str>,
        values: [&'static str; N],
    ) -> Key<N> {
        Key {
            upstream: upstream.map(|upstream| self.known(upstream)),
            ..self.of_pool(values)
        }
    }

    /// Counts a tunnel to the upstream.
    pub(crate) fn add_tunnel(&self, upstream: &str) {
        self.with_presence(upstream, |presence| presence.open += 1);
    }

    /// Counts the end of a tunnel to the upstream.
    pub(crate) fn remove_tunnel(&self, upstream: &str) {
        self.with_presence(upstream, |presence| {
            presence.open = presence.open.saturating_sub(1);
            if let (0, Some(departed)) = (presence.open, &mut presence.departed) {
                *departed = Instant::now();
            }
        });
    }

    /// Notes that the upstream came to the pool or left it.
    pub(crate) fn change_membership(&self, upstream: &str, change: MembershipChange, now: Instant) {
        self.with_presence(upstream, |presence| match change {
            MembershipChange::Removed => presence.departed = Some(now),
            MembershipChange::Added => presence.departed = None,
            _ => {}
        });
    }

    /// Returns the upstream's name as the series share it.
    fn known(&self, upstream: &str) -> Arc<str> {
        let mut presences = self.presences();
        if let Some((name, _)) = presences.get_key_value(upstream) {
            return Arc::clone(name);
        }
        let name: Arc<str> = upstream.into();
        presences.insert(Arc::clone(&name), Presence::default());
        name
    }

    fn with_presence(&self, upstream: &str, change: impl FnOnce(&mut Presence)) {
        let name = self.known(upstream);
        change(self.presences().entry(name).or_default());
    }

    fn presences(&self) -> MutexGuard<'_, HashMap<Arc<str>, Presence>> {
        // The map is whole after every statement under the lock.
        self.presences
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

//! What all clones of a pool share.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{
    admission::Gate,
    observe::Observer,
    registry::Registry,
    retry::Ledger,
    upstream::{Member, Upstream},
};

use super::{
    queue::Queue,
    roster::{Edited, Roster},
};

/// How long the figures of a removed upstream are remembered, in case it comes back.
const MEMORY: Duration = Duration::from_secs(600);

#[derive(Default)]
pub(crate) struct State {
    /// Held for reading only as long as it takes to copy a pointer.
    roster: RwLock<Arc<Roster>>,
    gate: Gate,
    /// Held by whoever edits, for the whole edit.
    edits: Mutex<Past>,
    registries: Mutex<Vec<Registry>>,
    observers: Mutex<Vec<Arc<dyn Observer>>>,
    is_probing: AtomicBool,
    queue: Queue,
    retries: Mutex<Ledger>,
    /// Tells by its end that the pool is gone.
    presence: watch::Sender<()>,
}

/// Members that were removed not long ago.
#[derive(Default)]
struct Past(Vec<(Instant, Arc<Member>)>);

impl State {
    pub(super) fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) const fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(super) const fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Replaces the upstreams by what the function makes of them; who was removed. `None` when
    /// nothing changes.
    pub(super) fn edit(
        &self,
        change: impl FnOnce(Vec<Upstream>) -> Vec<Upstream>,
        roster_of: impl FnOnce(Arc<[Arc<Member>]>) -> Roster,
    ) -> Option<Vec<Arc<Member>>> {
        let now = Instant::now();
        let mut past = lock(&self.edits);
        past.0
            .retain(|(removed_at, _)| now.saturating_duration_since(*removed_at) < MEMORY);
        let before = self.roster();
        let upstreams = before
            .members()
            .iter()
            .map(|member| member.upstream().clone())
            .collect();
        let Edited { members, removed } =
            before.replace(change(upstreams), |upstream| past.recall(upstream))?;
        past.0
            .extend(removed.iter().map(|member| (now, Arc::clone(member))));
        self.set_roster(roster_of(members.into()));
        self.queue.call();
        Some(removed)
    }

    /// Makes the roster anew out of the same members.
    pub(super) fn refresh(&self, roster_of: impl FnOnce(Arc<[Arc<Member>]>) -> Roster) {
        let _past = lock(&self.edits);
        let members = Arc::clone(self.roster().members());
        self.set_roster(roster_of(members));
        self.queue.call();
    }

    /// Held only as long as it takes to count.
    pub(super) fn retries(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.retries)
    }

    fn set_roster(&self, roster: Roster) {
        *self.roster.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(roster);
    }

    /// True once: for who is to start the monitor.
    pub(super) fn is_first_to_probe(&self) -> bool {
        !self.is_probing.swap(true, Ordering::AcqRel)
    }

    /// Whose sender is gone when the pool is.
    pub(super) fn presence(&self) -> watch::Receiver<()> {
        self.presence.subscribe()
    }

    pub(super) fn attach_observer(&self, observer: Arc<dyn Observer>) {
        lock(&self.observers).push(observer);
    }

    pub(super) fn observers(&self) -> Vec<Arc<dyn Observer>> {
        lock(&self.observers).clone()
    }

    /// Adds a registry in which tunnels to this pool's upstreams are listed.
    pub(super) fn attach(&self, registry: Registry) {
        lock(&self.registries).push(registry);
    }

    pub(super) fn registries(&self) -> Vec<Registry> {
        lock(&self.registries).clone()
    }
}

impl Past {
    fn recall(&mut self, upstream: &Upstream) -> Option<Arc<Member>> {
        let index = self
            .0
            .iter()
            .position(|(_, member)| member.is_at(upstream.address()))?;
        Some(self.0.swap_remove(index).1)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("members", &self.roster().members())
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

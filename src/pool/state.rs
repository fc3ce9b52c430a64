//! What all clones of a pool share.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    admission::Gate,
    observe::Observer,
    registry::Registry,
    retry::Ledger,
    upstream::{Member, Upstream},
};

use super::roster::{Edited, Roster};

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
    waiting: AtomicUsize,
    turn: Notify,
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
        self.turn.notify_waiters();
        Some(removed)
    }

    /// Makes the roster anew out of the same members.
    pub(super) fn refresh(&self, roster_of: impl FnOnce(Arc<[Arc<Member>]>) -> Roster) {
        let _past = lock(&self.edits);
        let members = Arc::clone(self.roster().members());
        self.set_roster(roster_of(members));
        self.turn.notify_waiters();
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

    /// Takes a place in the queue, if there is one.
    pub(super) fn queue(&self, places: usize) -> Option<Place<'_>> {
        let one_more = |waiting: usize| (waiting < places).then_some(waiting + 1);
        self.waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
            .is_ok()
            .then_some(Place(self))
    }

    /// Somebody left: the next in the queue may ask again.
    pub(super) fn call_next(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.turn.notify_one();
        }
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

/// A place in the queue, given up on drop.
pub(super) struct Place<'a>(&'a State);

impl Place<'_> {
    /// Waits until it may be worth asking again, at `until` the latest.
    pub(super) async fn wait(&self, until: Instant) {
        let _ = tokio::time::timeout_at(until, self.0.turn.notified()).await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        // A call that was meant for this place goes on to the next.
        self.0.call_next();
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

//! What all clones of a pool share.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{
    net::connect::Dialer,
    observe::{Observer, UpstreamChange},
    tunnel::registry::{Registry, WeakRegistry},
    upstream::admission::Gate,
    upstream::retry::Ledger,
    upstream::{Member, Upstream},
};

use super::{
    alarm::Alarm,
    bell::Bell,
    news::{Change, News},
    queue::Queue,
    roster::{Edited, Roster},
    settings::HealthSettings,
};

/// How long the figures of a removed upstream are remembered, in case it comes back.
const MEMORY: Duration = Duration::from_secs(600);

pub(crate) struct State {
    /// Held for reading only as long as it takes to copy a pointer.
    roster: RwLock<Arc<Roster>>,
    pub(super) health: RwLock<Arc<HealthSettings>>,
    gate: Gate,
    /// Held by whoever makes a roster, for the whole of it. It comes before all other locks, and
    /// none of a member's is held when it is taken.
    edits: Mutex<Past>,
    pub(super) alarm: Alarm,
    pub(super) news: News,
    pub(super) bell: Arc<Bell>,
    /// When the upstreams are next compared with one another.
    pub(super) comparison: Mutex<Option<Instant>>,
    /// How the newest layer connects.
    dial: Mutex<Dialer>,
    registries: Mutex<Vec<WeakRegistry>>,
    losses: AtomicU32,
    queue: Queue,
    retries: Mutex<Ledger>,
    /// Tells by its end that the pool is gone.
    presence: watch::Sender<()>,
}

/// Members that were removed not long ago.
#[derive(Default)]
struct Past(Vec<(Instant, Arc<Member>)>);

impl State {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            roster: RwLock::default(),
            health: RwLock::new(Arc::new(HealthSettings::new())),
            gate: Gate::default(),
            edits: Mutex::default(),
            alarm: Alarm::new(now),
            news: News::default(),
            bell: Arc::default(),
            comparison: Mutex::default(),
            dial: Mutex::default(),
            registries: Mutex::default(),
            losses: AtomicU32::new(0),
            queue: Queue::default(),
            retries: Mutex::default(),
            presence: watch::Sender::default(),
        }
    }

    pub(super) fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) const fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(super) const fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Puts the first upstreams in, of which nobody needs to be told.
    pub(super) fn fill(&self, upstreams: Vec<Upstream>, now: Instant) {
        let mut past = lock(&self.edits);
        if let Some(Edited { members, .. }) = self.roster().replace(upstreams, |_| None) {
            self.install(members.into(), &mut past, now);
        }
    }

    /// Replaces the upstreams by what the function makes of them; who was removed. `None` when
    /// nothing changes.
    pub(super) fn edit(
        &self,
        change: impl FnOnce(Vec<Upstream>) -> Vec<Upstream>,
        now: Instant,
    ) -> Option<Vec<Arc<Member>>> {
        let mut past = lock(&self.edits);
        past.forget(now);
        let before = self.roster();
        let upstreams = before
            .members()
            .iter()
            .map(|member| member.upstream().clone())
            .collect();
        let Edited {
            members,
            added,
            changed,
            removed,
        } = before.replace(change(upstreams), |upstream| past.recall(upstream))?;
        for member in &removed {
            member.set_used(false);
        }
        for (members, change) in [
            (&removed, UpstreamChange::Removed),
            (&changed, UpstreamChange::Changed),
            (&added, UpstreamChange::Added),
        ] {
            for member in members {
                let name = member.shared_name();
                self.news.push(name, Change::Upstream(change));
            }
        }
        if let (Some(slow_start), false) = (self.health().slow_start, before.members().is_empty()) {
            for member in added {
                member.ramp_up(now, slow_start);
            }
        }
        past.0
            .extend(removed.iter().map(|member| (now, Arc::clone(member))));
        let lost = self.install(members.into(), &mut past, now);
        drop(past);
        self.settle(&lost);
        Some(removed)
    }

    /// Makes the roster anew out of the same members.
    pub(super) fn refresh(&self, now: Instant) {
        self.refresh_after(|_| {}, now);
    }

    /// Makes the roster anew after something was done to all members, also to those of whom only
    /// the memory is left.
    pub(super) fn refresh_after(&self, act: impl FnMut(&Arc<Member>), now: Instant) {
        let mut past = lock(&self.edits);
        let members = Arc::clone(self.roster().members());
        let remembered = past.0.iter().map(|(_, member)| member);
        members.iter().chain(remembered).for_each(act);
        let lost = self.install(members, &mut past, now);
        drop(past);
        self.settle(&lost);
    }

    /// Held only as long as it takes to count.
    pub(super) fn retries(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.retries)
    }

    /// Makes these the members; who may be picked no more although it is still a member.
    fn install(
        &self,
        members: Arc<[Arc<Member>]>,
        _held: &mut Past,
        now: Instant,
    ) -> Vec<Arc<Member>> {
        let (roster, lost) = self.roster_of(members, now);
        *self.roster.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(roster);
        self.queue.call();
        self.bell.ring();
        lost
    }

    /// How upstreams are connected from now on.
    pub(super) fn set_dial(&self, dial: Dialer) {
        *lock(&self.dial) = dial;
    }

    pub(super) fn dial(&self) -> Dialer {
        lock(&self.dial).clone()
    }

    /// Whose sender is gone when the pool is.
    pub(super) fn presence(&self) -> watch::Receiver<()> {
        self.presence.subscribe()
    }

    pub(super) fn attach_observer(&self, observer: &Arc<dyn Observer>) {
        self.news.attach(observer);
    }

    /// Adds a registry in which tunnels to this pool's upstreams are listed.
    pub(super) fn attach(&self, registry: &Registry) {
        let mut registries = lock(&self.registries);
        registries.retain(|registry| registry.upgrade().is_some());
        registries.push(registry.downgrade());
    }

    /// How often tunnels were given up. Who reads it before the roster knows what can have come
    /// after.
    pub(super) fn losses(&self) -> u32 {
        self.losses.load(Ordering::Acquire)
    }

    /// Counts one more, of those who can be picked no more.
    pub(super) fn count_loss(&self) -> u32 {
        self.losses.fetch_add(1, Ordering::AcqRel).wrapping_add(1)
    }

    pub(super) fn registries(&self) -> Vec<Registry> {
        let registries = lock(&self.registries);
        registries
            .iter()
            .filter_map(WeakRegistry::upgrade)
            .collect()
    }
}

#[cfg(test)]
impl State {
    /// How many registries and observers are remembered, gone or not.
    pub(super) fn remembered_layers(&self) -> (usize, usize) {
        (lock(&self.registries).len(), self.news.remembered())
    }
}

/// Nobody is left who could use the pool: the monitor is to find out.
impl Drop for State {
    fn drop(&mut self) {
        self.bell.ring();
    }
}

impl Past {
    /// Forgets who was removed long ago, unless somebody still holds on to its figures: were it
    /// counted anew, its tunnels would be forgotten.
    fn forget(&mut self, now: Instant) {
        self.0.retain(|(removed_at, member)| {
            now.saturating_duration_since(*removed_at) < MEMORY || member.is_held()
        });
    }

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

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

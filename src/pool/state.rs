//! State that all clones of a pool share.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{
    lock::lock,
    net::connect::{Address, Dialer},
    observe::{MembershipChange, Observer},
    tunnel::registry::Revocable,
    upstream::admission::AdmissionCounters,
    upstream::health::availability::HealthCounts,
    upstream::retry::BudgetWindow,
    upstream::{
        CloseOrder, Guarded, LockRank, Member, MemberHealth, OrderedAction, Ranked, Upstream,
    },
};

use super::{
    member_set::{MemberDiff, MemberSet},
    monitor_waker::MonitorWaker,
    next_change::NextChange,
    notifier::{Notifier, PoolChange},
    queue::Queue,
    settings::{HealthSettings, OnUpstreamLoss, PoolSettings},
    turn::Turn,
};

/// Time for which the state of a removed upstream is kept, in case it comes back.
const REMOVED_MEMBER_TTL: Duration = Duration::from_secs(600);

pub(crate) struct PoolState {
    settings: PoolSettings,
    /// Locked for reading only as long as it takes to copy a pointer.
    member_set: RwLock<Arc<MemberSet>>,
    counters: AdmissionCounters,
    /// Locked during the whole creation of a member set, but not while an availability policy of the
    /// host runs. It comes before all other locks: no lock of a member is held when it is taken.
    pub(super) edits: Guarded<Edits>,
    /// Turn to call an availability policy of the host.
    pub(super) admitting: Turn,
    /// Members whose health has changed since the member set was created.
    pub(super) changed: Mutex<Vec<Arc<Member>>>,
    pub(super) next_change: NextChange,
    pub(super) notifier: Notifier,
    pub(super) waker: Arc<MonitorWaker>,
    /// Time of the last comparison of the upstreams, or of the beginning.
    pub(super) last_comparison: Mutex<Option<Instant>>,
    /// Dialer of the newest layer.
    dialer: Mutex<Dialer>,
    close_orders: AtomicU32,
    /// Whether an upstream has a limit; spares the index of free places where none has.
    pub(super) is_limited: AtomicBool,
    /// Whether health has changed since the member set was created.
    pub(super) is_stale: AtomicBool,
    /// Whether the member set is to be created again, as a policy of the host has panicked.
    pub(super) needs_refresh: AtomicBool,
    queue: Queue,
    retry_window: Mutex<BudgetWindow>,
    /// Its end signals that the pool is gone.
    alive: watch::Sender<()>,
}

/// What a change of the members needs to know of the changes before it.
#[derive(Default)]
pub(super) struct Edits {
    removed: RecentlyRemoved,
    pub(super) counts: HealthCounts,
    /// Whether exactly the healthy members are in use, as the counts show.
    pub(super) is_plain: bool,
    /// Number of changes.
    pub(super) version: u64,
    /// Number of changes for which it is decided which members are in use.
    pub(super) settled: u64,
}

impl Ranked for Edits {
    const RANK: LockRank = LockRank::Edits;
}

/// Members that were removed recently, by their address.
#[derive(Default)]
struct RecentlyRemoved(HashMap<Address, (Instant, Arc<Member>)>);

impl PoolState {
    pub(super) fn new(settings: PoolSettings, now: Instant) -> Self {
        let notifier = Notifier::new(settings.name.clone());
        Self {
            settings,
            member_set: RwLock::default(),
            counters: AdmissionCounters::default(),
            edits: Guarded::default(),
            next_change: NextChange::new(now),
            notifier,
            waker: Arc::default(),
            last_comparison: Mutex::default(),
            dialer: Mutex::default(),
            close_orders: AtomicU32::new(0),
            is_limited: AtomicBool::new(false),
            is_stale: AtomicBool::new(false),
            needs_refresh: AtomicBool::new(false),
            admitting: Turn::default(),
            changed: Mutex::default(),
            queue: Queue::default(),
            retry_window: Mutex::default(),
            alive: watch::Sender::default(),
        }
    }

    pub(super) const fn settings(&self) -> &PoolSettings {
        &self.settings
    }

    pub(super) const fn health_settings(&self) -> &HealthSettings {
        &self.settings.health
    }

    pub(super) fn member_set(&self) -> Arc<MemberSet> {
        Arc::clone(
            &self
                .member_set
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Returns the number of upstreams.
    pub(super) fn len(&self) -> usize {
        self.member_set().members().len()
    }

    pub(super) const fn counters(&self) -> &AdmissionCounters {
        &self.counters
    }

    pub(super) const fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Adds the first upstreams, without notifications.
    pub(super) fn fill(&self, upstreams: Vec<Upstream>, now: Instant) {
        let mut edits = self.edits.lock();
        if let Some(MemberDiff { members, .. }) = self.member_set().replace(upstreams, |_| None) {
            self.install(&members.into(), &mut edits, now);
        }
        drop(edits);
        self.settle(now);
    }

    /// Replaces the upstreams by the function's result. False if nothing changes.
    pub(super) fn edit(
        &self,
        change: impl FnOnce(Vec<Upstream>) -> Vec<Upstream>,
        now: Instant,
    ) -> bool {
        let Some(removed) = self.edit_members(change, now) else {
            return false;
        };
        let choice = self.settings.removed_tunnels;
        for member in removed {
            let reason = "upstream removed";
            self.close_tunnels(&member, choice, reason, Revocable::ByNextUpstream);
        }
        true
    }

    /// Returns the removed members; `None` if nothing changes.
    fn edit_members(
        &self,
        change: impl FnOnce(Vec<Upstream>) -> Vec<Upstream>,
        now: Instant,
    ) -> Option<Vec<Arc<Member>>> {
        let mut edits = self.edits.lock();
        edits.removed.forget(now);
        let before = self.member_set();
        let upstreams = before
            .members()
            .iter()
            .map(|member| member.upstream().clone())
            .collect();
        let MemberDiff {
            members,
            added,
            changed,
            removed,
        } = before.replace(change(upstreams), |upstream| edits.removed.take(upstream))?;
        for member in &removed {
            member.set_used(false);
            member.set_left(true);
        }
        for member in &added {
            member.set_left(false);
        }
        self.announce(&removed, MembershipChange::Removed);
        self.announce(&changed, MembershipChange::Changed);
        self.announce(&added, MembershipChange::Added);
        if let (Some(slow_start), false) = (
            self.health_settings().slow_start,
            before.members().is_empty(),
        ) {
            for member in added {
                member.begin_slow_start(now, slow_start);
            }
        }
        edits.removed.0.extend(removed.iter().map(|member| {
            let address = member.upstream().address().clone();
            (address, (now, Arc::clone(member)))
        }));
        let lost = self.install(&members.into(), &mut edits, now);
        drop(edits);
        self.apply_losses(&lost);
        self.settle(now);
        Some(removed)
    }

    /// Queues the change of each of these members for the observer and the logs.
    fn announce(&self, members: &[Arc<Member>], change: MembershipChange) {
        for member in members {
            let name = member.shared_name();
            self.notifier.push(name, PoolChange::Upstream(change));
        }
    }

    /// Rebuilds the member set from the same members.
    pub(super) fn refresh(&self, now: Instant) {
        let mut edits = self.edits.lock();
        let members = Arc::clone(self.member_set().members());
        let lost = self.install(&members, &mut edits, now);
        drop(edits);
        self.apply_losses(&lost);
        self.settle(now);
    }

    /// Runs `act` on an upstream's health.
    pub(super) fn with_member_health<T>(
        &self,
        member: &Member,
        now: Instant,
        act: impl FnOnce(&mut MemberHealth, &HealthSettings) -> T,
    ) -> T {
        member.with_health(|health| {
            let settings = self.health_settings();
            let health = health
                .get_or_insert_with(|| settings.new_member_health(&member.upstream().view(), now));
            act(health, settings)
        })
    }

    /// Closes or moves the tunnels of an upstream, and breaks its responses off, if that was chosen.
    pub(super) fn close_tunnels(
        &self,
        member: &Member,
        choice: OnUpstreamLoss,
        reason: &'static str,
        revocable: Revocable,
    ) {
        let (action, spread) = match choice {
            OnUpstreamLoss::Leave => return,
            OnUpstreamLoss::Close { spread } => (OrderedAction::Close, spread),
            OnUpstreamLoss::Move { spread } => (OrderedAction::Move, spread),
        };
        let now = Instant::now();
        let order = CloseOrder {
            number: self.next_close_order(),
            at: now,
            spread,
            action,
            reason,
            revocable,
        };
        // Before the open tunnels are read: a tunnel that opens later sees the order.
        member.set_close_order(order);
        let tunnels = member.open_tunnels();
        tunnels.order(revocable, |entry| order.send(entry, now));
        for (response, length) in member.responses().under_way() {
            order.break_off(&response, length, now);
        }
    }

    /// Locks the retry budget; to be held only as long as it takes to count.
    pub(super) fn retry_window(&self) -> MutexGuard<'_, BudgetWindow> {
        lock(&self.retry_window)
    }

    /// Makes this the set that picks read.
    pub(super) fn publish(&self, set: MemberSet) {
        let is_limited = set.is_limited();
        self.is_limited.store(is_limited, Ordering::Release);
        *self
            .member_set
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
        self.queue.call();
        self.waker.wake();
    }

    /// Updates the index of free places after a change of an upstream's counts.
    pub(super) fn update_room(&self, member: &Member) {
        if self.is_limited.load(Ordering::Acquire) {
            self.member_set().update_room(member);
        }
    }

    /// Sets the dialer of later probes.
    pub(super) fn set_dialer(&self, dialer: Dialer) {
        *lock(&self.dialer) = dialer;
    }

    pub(super) fn dialer(&self) -> Dialer {
        lock(&self.dialer).clone()
    }

    /// Returns a receiver whose sender is dropped with the pool.
    pub(super) fn alive(&self) -> watch::Receiver<()> {
        self.alive.subscribe()
    }

    pub(super) fn attach_observer(&self, observer: &Arc<dyn Observer>) {
        self.notifier.attach(observer);
    }

    /// Returns the number of close orders so far. A lease that reads the number before the
    /// member set can distinguish the orders that came later.
    pub(super) fn close_orders(&self) -> u32 {
        self.close_orders.load(Ordering::Acquire)
    }

    /// Counts a close order, for upstreams that can no longer be picked.
    fn next_close_order(&self) -> u32 {
        self.close_orders
            .fetch_add(1, Ordering::AcqRel)
            .wrapping_add(1)
    }
}

#[cfg(test)]
impl PoolState {
    /// Returns the number of observers that are kept, gone or not.
    pub(super) fn remembered_observers(&self) -> usize {
        self.notifier.remembered()
    }
}

/// The pool is gone: the monitor must find out.
impl Drop for PoolState {
    fn drop(&mut self) {
        self.waker.wake();
    }
}

impl RecentlyRemoved {
    /// Forgets members that were removed long ago, unless a tunnel or a probe still holds their
    /// state: with a new state, their tunnels would not be counted.
    fn forget(&mut self, now: Instant) {
        self.0.retain(|_, (removed_at, member)| {
            now.saturating_duration_since(*removed_at) < REMOVED_MEMBER_TTL || member.is_held()
        });
    }

    /// Returns the state of an upstream that comes back. Its drain ended with its removal.
    fn take(&mut self, upstream: &Upstream) -> Option<Arc<Member>> {
        let (_, member) = self.0.remove(upstream.address())?;
        if member.end_draining() {
            member.withdraw_close_order(Revocable::ByPoolResume);
        }
        Some(member)
    }
}

impl fmt::Debug for PoolState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolState")
            .field("members", &self.member_set().members())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

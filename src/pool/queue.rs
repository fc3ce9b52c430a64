//! Queue of handshakes that wait for a limit: in groups by what they wait for, and first come, first
//! served within each.
//!
//! ```text
//!           called ──► tries ──► leaves the queue, with a lease or without
//!             ▲          │                                │
//!             │          ▼                                ▼
//! arrives ─► waits ◄── refused ── others may succeed ──► calls the next
//! ```
//!
//! A group consists of the waiters that can use the same upstreams: those for which the policy names
//! the same [group](crate::balance::Balance::queue_group); else those of a route that were refused for want of the
//! same upstream, or that found all of them full. Only the first waiter of a group tries, so an event
//! costs as many tries as there are groups, however many wait.
//!
//! Whenever a limit may have room, the longest waiting of the groups' first waiters is called; it
//! tries only after those that wait longer had a turn. If it fails for a reason of its own, it calls
//! the next group's; if the reason concerns all, no other waiter needs to try.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering, fence},
    },
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::{error::ErrorKind, lock::lock};

/// Queue of waiting handshakes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiters: Mutex<Waiters>,
    /// Number of waiters; spares the lock when there are none.
    count: AtomicUsize,
}

/// Group of the waiters that can use the same upstreams.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct GroupKey {
    /// Identity of the route's policy, which lives as long as its waiters.
    route: usize,
    /// Upstreams that were tried for the request already.
    tried: Vec<Arc<str>>,
    needs: Needs,
}

/// Upstreams that the waiters of a group can use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Needs {
    /// Those of the group that the policy has named.
    Declared(Arc<str>),
    /// Those that the policy picks where it would pick this one, if it had room.
    Like(Arc<str>),
    /// Any, or not known yet.
    Any,
}

#[derive(Debug, Default)]
struct Waiters {
    groups: HashMap<GroupKey, Group>,
    /// First waiter of each group, by its ticket.
    heads: BTreeMap<u64, GroupKey>,
    /// Group of each waiter, by its ticket.
    keys: HashMap<u64, GroupKey>,
    next_ticket: u64,
    count: usize,
    /// Number of waiters that are called or trying.
    active: usize,
    /// Limit that the last try reached.
    refused_for: Option<ErrorKind>,
    /// Whether that limit concerns all waiters.
    are_all_refused: bool,
}

#[derive(Debug, Default)]
struct Group {
    waiters: VecDeque<Waiter>,
    refused_for: Option<ErrorKind>,
    /// Whether the last try was a refusal, it holds for all of the group, and time alone does not
    /// end it.
    is_refused: bool,
}

#[derive(Debug)]
struct Waiter {
    /// Grows from the first waiter to the last.
    ticket: u64,
    state: WaiterState,
    notify: Arc<Notify>,
}

/// State of a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaiterState {
    Waiting,
    Called,
    Trying,
    /// Called again during its try, whose result may therefore be outdated.
    CalledAgain,
}

/// Waiters that a refusal concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusalScope {
    /// No waiter would be admitted now.
    AllWaiters,
    /// Other waiters may be admitted, as they can use other upstreams.
    ThisWaiter,
}

/// Try without success.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    /// Upstream that would have been picked if it had room, if others have.
    pub(super) wanted: Option<Arc<str>>,
    pub(super) kind: ErrorKind,
    pub(super) scope: RefusalScope,
    /// Time at which another try can succeed without an event.
    pub(super) retry_at: Option<Instant>,
}

/// Ticket of a waiter, which leaves the queue on drop.
#[derive(Debug)]
pub(super) struct QueueTicket<'a> {
    queue: &'a Queue,
    ticket: u64,
    notify: Arc<Notify>,
}

impl GroupKey {
    pub(super) fn new(
        route: usize,
        declared: Option<String>,
        tried: impl Iterator<Item = Arc<str>>,
    ) -> Self {
        let mut tried: Vec<_> = tried.collect();
        tried.sort_unstable();
        Self {
            route,
            tried,
            needs: declared.map_or(Needs::Any, |group| Needs::Declared(group.into())),
        }
    }

    /// Returns the group of a waiter of this group that was refused.
    fn refused(&self, refused: &Refused) -> Self {
        let needs = match (&self.needs, &refused.wanted) {
            (Needs::Declared(_), _) | (_, None) => self.needs.clone(),
            (_, Some(wanted)) => Needs::Like(Arc::clone(wanted)),
        };
        Self {
            needs,
            tried: self.tried.clone(),
            ..*self
        }
    }
}

impl Queue {
    /// Whether the queue is empty, so that a newcomer overtakes no waiter.
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether a newcomer may try without joining the queue: no waiter would take what it can get.
    pub(super) fn admits(&self, group: &GroupKey) -> bool {
        let waiters = self.waiters();
        if waiters.are_all_refused {
            return false;
        }
        if let Needs::Declared(_) = group.needs {
            return !waiters.groups.contains_key(group);
        }
        // An event that the waiters still get to know of may be for one of them.
        if waiters.active > 0 {
            return false;
        }
        let mut of_route = waiters
            .groups
            .iter()
            .filter(|(key, _)| key.route == group.route);
        of_route.all(|(_, waiting)| waiting.is_refused)
    }

    /// Whether there are waiters that a request of this group would overtake, and their last try
    /// reached this limit.
    pub(super) fn waits_for(&self, kind: ErrorKind, group: &GroupKey) -> bool {
        let waiters = self.waiters();
        let is_kind = |refused_for| refused_for == Some(kind);
        let waiting = waiters.groups.get(group);
        waiting.is_some_and(|waiting| is_kind(waiting.refused_for))
            || (waiters.are_all_refused && is_kind(waiters.refused_for))
    }

    /// Joins the queue at the end of a group, if there are fewer than `max_waiters` waiters in all.
    /// `refused` is the result of the newcomer's try, if it has tried.
    ///
    /// # Errors
    ///
    /// The limit that was reached, if the queue is full.
    pub(super) fn join(
        &self,
        group: GroupKey,
        max_waiters: usize,
        refused: Option<Refused>,
    ) -> Result<QueueTicket<'_>, ErrorKind> {
        let group = match &refused {
            Some(refused) => group.refused(refused),
            None => group,
        };
        let mut waiters = self.waiters();
        if waiters.count >= max_waiters {
            // Room that the newcomer took and returned may have kept a waiter from its lease.
            waiters.call_from(0);
            let reason = refused.map(|refused| refused.kind);
            return Err(reason.unwrap_or_else(|| waiters.reason(&group)));
        }
        let (ticket, notify) = waiters.add(group, refused);
        self.count.store(waiters.count, Ordering::Relaxed);
        // An event from now on finds the waiter; the try that follows finds earlier ones.
        fence(Ordering::SeqCst);
        waiters.call_from(0);
        Ok(QueueTicket {
            queue: self,
            ticket,
            notify,
        })
    }

    /// Calls the first waiter: a limit may have room.
    pub(super) fn call(&self) {
        fence(Ordering::SeqCst);
        if !self.is_empty() {
            self.waiters().call_from(0);
        }
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        lock(&self.waiters)
    }
}

impl QueueTicket<'_> {
    /// Whether it is this waiter's turn to try. If so, `refused` or a drop must follow.
    pub(super) fn may_try(&self) -> bool {
        self.queue.waiters().begin_try(self.ticket)
    }

    /// Records a try without success.
    pub(super) fn refused(&self, refused: &Refused) {
        self.queue.waiters().refuse(self.ticket, refused);
    }

    /// Waits for a call, but not beyond `until`, at which the first waiters get a try.
    pub(super) async fn called(&self, until: Instant) -> Result<(), TimedOut> {
        let called = timeout_at(until, self.notify.notified()).await;
        called.map_err(|_| {
            self.queue.call();
            TimedOut
        })
    }

    /// Attempts until one succeeds, whenever it is this waiter's turn, but not beyond the deadline.
    ///
    /// # Errors
    ///
    /// The limit that keeps the group waiting; [`ErrorKind::NoUpstream`] after an attempt that no
    /// limit has refused.
    pub(super) async fn in_turn<T>(
        &self,
        deadline: Instant,
        mut attempt: impl FnMut(Instant) -> Result<T, Option<Refused>>,
    ) -> Result<T, ErrorKind> {
        let mut retry_at = None;
        loop {
            let now = Instant::now();
            if self.may_try() {
                match attempt(now) {
                    Ok(done) => return Ok(done),
                    Err(None) => return Err(ErrorKind::NoUpstream),
                    Err(Some(refused)) => {
                        retry_at = refused.retry_at;
                        self.refused(&refused);
                    }
                }
            }
            if now >= deadline {
                return Err(self.reason());
            }
            let until = retry_at.map_or(deadline, |at: Instant| at.min(deadline));
            if self.called(until).await.is_err() {
                retry_at = None;
            }
        }
    }

    /// Returns the limit that keeps the group waiting.
    pub(super) fn reason(&self) -> ErrorKind {
        let waiters = self.queue.waiters();
        let group = waiters.keys.get(&self.ticket);
        let reason = group.map(|group| waiters.reason(group));
        reason.unwrap_or(ErrorKind::NoUpstream)
    }
}

/// The time was over before a call.
#[derive(Debug)]
pub(super) struct TimedOut;

impl Drop for QueueTicket<'_> {
    fn drop(&mut self) {
        let mut waiters = self.queue.waiters();
        waiters.leave(self.ticket);
        self.queue.count.store(waiters.count, Ordering::Relaxed);
    }
}

impl Waiters {
    /// Adds a waiter at the end of its group; returns its ticket.
    fn add(&mut self, key: GroupKey, refused: Option<Refused>) -> (u64, Arc<Notify>) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.count += 1;
        let notify = Arc::new(Notify::new());
        let waiter = Waiter {
            ticket,
            state: WaiterState::Waiting,
            notify: Arc::clone(&notify),
        };
        let is_refused = refused.as_ref().is_some_and(Refused::is_lasting);
        if let Some(refused) = refused {
            self.refused_for = Some(refused.kind);
            self.are_all_refused |= refused.scope == RefusalScope::AllWaiters;
        }
        self.insert(key, waiter, is_refused);
        (ticket, notify)
    }

    /// Inserts a waiter into a group, in the order of the tickets.
    fn insert(&mut self, key: GroupKey, waiter: Waiter, is_refused: bool) {
        let ticket = waiter.ticket;
        self.keys.insert(ticket, key.clone());
        let group = self.groups.entry(key.clone()).or_default();
        group.is_refused = is_refused && (group.is_refused || group.waiters.is_empty());
        group.refused_for = group.refused_for.or(self.refused_for);
        let index = group.index(ticket);
        if index == 0 {
            if let Some(second) = group.waiters.front() {
                self.heads.remove(&second.ticket);
            }
            self.heads.insert(ticket, key);
        }
        group.waiters.insert(index, waiter);
    }

    /// Removes a waiter; returns it with its group, and whether it was the first there.
    fn remove(&mut self, ticket: u64) -> Option<(GroupKey, Waiter, bool)> {
        let key = self.keys.remove(&ticket)?;
        let group = self.groups.get_mut(&key)?;
        let index = group.index(ticket);
        let waiter = group.waiters.remove(index)?;
        if index == 0 {
            self.heads.remove(&ticket);
            match group.waiters.front() {
                Some(next) => {
                    self.heads.insert(next.ticket, key.clone());
                }
                None => {
                    self.groups.remove(&key);
                }
            }
        }
        Some((key, waiter, index == 0))
    }

    fn head(&mut self, ticket: u64) -> Option<&mut Waiter> {
        let group = self.groups.get_mut(self.heads.get(&ticket)?)?;
        group.waiters.front_mut()
    }

    /// Calls the first of the groups' first waiters whose ticket is not lower.
    fn call_from(&mut self, ticket: u64) {
        let next = self.heads.range(ticket..).next();
        let Some(ticket) = next.map(|(ticket, _)| *ticket) else {
            return;
        };
        let Some(waiter) = self.head(ticket) else {
            return;
        };
        let was_waiting = waiter.state == WaiterState::Waiting;
        waiter.state = match waiter.state {
            WaiterState::Waiting | WaiterState::Called => WaiterState::Called,
            WaiterState::Trying | WaiterState::CalledAgain => WaiterState::CalledAgain,
        };
        waiter.notify.notify_one();
        self.active += usize::from(was_waiting);
    }

    /// Begins a try if the waiter was called, and none that waits longer was.
    fn begin_try(&mut self, ticket: u64) -> bool {
        let mut longer = self.heads.range(..ticket);
        let is_waiting = |key| {
            let head = self.groups.get(key).and_then(|group| group.waiters.front());
            head.is_some_and(|head| head.state == WaiterState::Waiting)
        };
        if !longer.all(|(_, key)| is_waiting(key)) {
            return false;
        }
        match self.head(ticket) {
            Some(head) if head.state == WaiterState::Called => {
                head.state = WaiterState::Trying;
                true
            }
            _ => false,
        }
    }

    fn refuse(&mut self, ticket: u64, refused: &Refused) {
        self.refused_for = Some(refused.kind);
        self.are_all_refused = refused.scope == RefusalScope::AllWaiters;
        let Some((key, mut waiter, _)) = self.remove(ticket) else {
            return;
        };
        let is_called = waiter.state == WaiterState::CalledAgain;
        waiter.state = WaiterState::Waiting;
        self.active = self.active.saturating_sub(1);
        // The waiter moves to the group of those that need the same.
        let needed = key.refused(refused);
        self.insert(needed.clone(), waiter, refused.is_lasting());
        if let Some(group) = self.groups.get_mut(&needed) {
            group.refused_for = Some(refused.kind);
            let holds_for_all = needed.needs != Needs::Any
                || refused.scope == RefusalScope::AllWaiters
                || group.waiters.len() == 1;
            group.is_refused = holds_for_all && refused.is_lasting();
        }
        if is_called {
            self.call_from(ticket);
        } else if refused.scope == RefusalScope::ThisWaiter {
            self.call_from(ticket + 1);
        }
    }

    fn leave(&mut self, ticket: u64) {
        let Some((_, left, was_first)) = self.remove(ticket) else {
            return;
        };
        self.count -= 1;
        if left.state != WaiterState::Waiting {
            self.active = self.active.saturating_sub(1);
        }
        self.are_all_refused &= self.count > 0;
        // A call goes on to the next waiter; also, the first of a group may have been the only one
        // that waited for a known time.
        if was_first {
            self.call_from(ticket);
        }
    }

    fn reason(&self, key: &GroupKey) -> ErrorKind {
        let group = self.groups.get(key);
        let refused_for = group.and_then(|group| group.refused_for);
        let refused_for = refused_for.or(self.refused_for);
        refused_for.unwrap_or(ErrorKind::NoUpstream)
    }
}

impl Group {
    fn index(&self, ticket: u64) -> usize {
        self.waiters
            .partition_point(|waiter| waiter.ticket < ticket)
    }
}

impl Refused {
    /// Whether time alone does not end the refusal.
    const fn is_lasting(&self) -> bool {
        self.retry_at.is_none()
    }
}

#[cfg(test)]
mod tests;

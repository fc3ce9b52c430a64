//! Waiters of a queue, in groups. Pure: a waiter that is called is woken by its `Notify`.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use tokio::sync::Notify;

use crate::error::ErrorKind;

use super::group_key::{GroupKey, Needs, RefusalScope, Refused};

#[derive(Debug, Default)]
pub(super) struct Waiters {
    pub(super) groups: HashMap<GroupKey, Group>,
    /// First waiter of each group, by its ticket.
    heads: BTreeMap<u64, GroupKey>,
    /// Group of each waiter, by its ticket.
    pub(super) keys: HashMap<u64, GroupKey>,
    next_ticket: u64,
    pub(super) count: usize,
    /// Number of waiters that are called or trying.
    pub(super) active: usize,
    /// Limit that the last try reached.
    pub(super) refused_for: Option<ErrorKind>,
    /// Whether that limit concerns all waiters.
    pub(super) are_all_refused: bool,
    /// Number of waiters that are trying.
    trying: usize,
    /// Whether tries have gone on side by side since none went on.
    is_overlapping: bool,
    /// Whether one of these was refused for a limit of all: a try takes room for its time, and may return
    /// it.
    is_room_in_doubt: bool,
}

#[derive(Debug, Default)]
pub(super) struct Group {
    waiters: VecDeque<Waiter>,
    pub(super) refused_for: Option<ErrorKind>,
    /// Whether the last try was a refusal, it holds for all of the group, and time alone does not
    /// end it.
    pub(super) is_refused: bool,
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

impl WaiterState {
    fn is_trying(self) -> bool {
        matches!(self, Self::Trying | Self::CalledAgain)
    }
}

impl Waiters {
    /// Adds a waiter at the end of its group; returns its ticket.
    pub(super) fn add(&mut self, key: GroupKey, refused: Option<Refused>) -> (u64, Arc<Notify>) {
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
            if let Some(second) = group.waiters.front_mut() {
                self.heads.remove(&second.ticket);
                // Only the first of a group tries.
                if second.state == WaiterState::Called {
                    second.state = WaiterState::Waiting;
                    self.active = self.active.saturating_sub(1);
                }
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
    pub(super) fn call_from(&mut self, ticket: u64) {
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
    pub(super) fn begin_try(&mut self, ticket: u64) -> bool {
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
                self.is_overlapping |= self.trying > 0;
                self.trying += 1;
                true
            }
            _ => false,
        }
    }

    /// Records a try without success; true if the waiter was called meanwhile.
    pub(super) fn refuse(&mut self, ticket: u64, refused: &Refused) -> bool {
        self.refused_for = Some(refused.kind);
        self.are_all_refused = refused.scope == RefusalScope::AllWaiters;
        let Some((key, mut waiter, _)) = self.remove(ticket) else {
            return false;
        };
        let is_called = waiter.state == WaiterState::CalledAgain;
        waiter.state = WaiterState::Waiting;
        self.active = self.active.saturating_sub(1);
        self.is_room_in_doubt |= self.are_all_refused && self.is_overlapping;
        let is_room_returned = self.end_try();
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
        if is_room_returned {
            self.call_from(0);
        }
        is_called
    }

    pub(super) fn leave(&mut self, ticket: u64) {
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
        if left.state.is_trying() && self.end_try() {
            self.call_from(0);
        }
    }

    /// Counts a try as over; true if none goes on, and one was refused for room that another may have
    /// held.
    fn end_try(&mut self) -> bool {
        self.trying = self.trying.saturating_sub(1);
        if self.trying > 0 {
            return false;
        }
        self.is_overlapping = false;
        std::mem::take(&mut self.is_room_in_doubt)
    }

    pub(super) fn reason(&self, key: &GroupKey) -> ErrorKind {
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

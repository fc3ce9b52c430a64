//! Queue of handshakes that wait for a limit: first come, first served.
//!
//! ```text
//!           called ──► tries ──► leaves the queue, with a lease or without
//!             ▲          │                                │
//!             │          ▼                                ▼
//! arrives ─► waits ◄── refused ── others may succeed ──► calls the next
//! ```
//!
//! Whenever a limit may have room, the first waiter is called; a waiter tries only after everyone
//! further ahead had a turn. A waiter that fails for a reason of its own calls the next one; if the
//! reason concerns everyone, no other waiter needs to try.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::error::ErrorKind;

/// Queue of waiting handshakes.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Waiters>);

#[derive(Debug, Default)]
struct Waiters {
    list: VecDeque<Waiter>,
    next_ticket: u64,
    /// Limit that the last try reached.
    refused_for: Option<ErrorKind>,
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

/// Ticket of a waiter, which leaves the queue on drop.
#[derive(Debug)]
pub(super) struct QueueTicket<'a> {
    queue: &'a Queue,
    ticket: u64,
    notify: Arc<Notify>,
}

impl Queue {
    /// Whether the queue is empty, so that a newcomer overtakes no waiter.
    pub(super) fn is_empty(&self) -> bool {
        self.waiters().list.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiters().list.len()
    }

    /// Whether there are waiters, and the last try reached this limit.
    pub(super) fn waits_for(&self, kind: ErrorKind) -> bool {
        let waiters = self.waiters();
        !waiters.list.is_empty() && waiters.refused_for == Some(kind)
    }

    /// Joins the queue at its end, if there are fewer than `max_waiters` waiters. `refused_for` is
    /// the limit that the newcomer has reached, if it has tried.
    ///
    /// # Errors
    ///
    /// The limit that was reached, if the queue is full.
    pub(super) fn join(
        &self,
        max_waiters: usize,
        refused_for: Option<ErrorKind>,
    ) -> Result<QueueTicket<'_>, ErrorKind> {
        let mut waiters = self.waiters();
        waiters.refused_for = refused_for.or(waiters.refused_for);
        if waiters.list.len() >= max_waiters {
            // Room that the newcomer took and returned may have kept a waiter from its lease.
            waiters.call(0);
            return Err(waiters.reason());
        }
        let ticket = waiters.next_ticket;
        waiters.next_ticket += 1;
        let notify = Arc::new(Notify::new());
        waiters.list.push_back(Waiter {
            ticket,
            state: WaiterState::Waiting,
            notify: Arc::clone(&notify),
        });
        waiters.call(0);
        Ok(QueueTicket {
            queue: self,
            ticket,
            notify,
        })
    }

    /// Calls the first waiter: a limit may have room.
    pub(super) fn call(&self) {
        self.waiters().call(0);
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueTicket<'_> {
    /// Whether it is this waiter's turn to try. If so, `refused` or a drop must follow.
    pub(super) fn may_try(&self) -> bool {
        let mut waiters = self.queue.waiters();
        let index = waiters.index(self.ticket);
        let is_next = waiters
            .list
            .range(..index)
            .all(|ahead| ahead.state == WaiterState::Waiting);
        match waiters.list.get_mut(index) {
            Some(waiter) if is_next && waiter.state == WaiterState::Called => {
                waiter.state = WaiterState::Trying;
                true
            }
            _ => false,
        }
    }

    /// Records a try without success.
    pub(super) fn refused(&self, refused_for: ErrorKind, scope: RefusalScope) {
        let mut waiters = self.queue.waiters();
        waiters.refused_for = Some(refused_for);
        let index = waiters.index(self.ticket);
        let Some(waiter) = waiters.list.get_mut(index) else {
            return;
        };
        let is_called = waiter.state == WaiterState::CalledAgain;
        waiter.state = WaiterState::Waiting;
        if is_called {
            waiters.call(index);
        } else if scope == RefusalScope::ThisWaiter {
            waiters.call(index + 1);
        }
    }

    /// Waits for a call, but not beyond `until`, at which all waiters get a try.
    pub(super) async fn called(&self, until: Instant) -> Result<(), TimedOut> {
        let called = timeout_at(until, self.notify.notified()).await;
        called.map_err(|_| {
            self.queue.call();
            TimedOut
        })
    }

    /// Returns the limit that keeps the waiters waiting.
    pub(super) fn reason(&self) -> ErrorKind {
        self.queue.waiters().reason()
    }
}

/// The time was over before a call.
#[derive(Debug)]
pub(super) struct TimedOut;

impl Drop for QueueTicket<'_> {
    fn drop(&mut self) {
        let mut waiters = self.queue.waiters();
        let index = waiters.index(self.ticket);
        let left = waiters.list.remove(index);
        // A call goes on to the next waiter; also, the first one may have been the only one that
        // waited for a known time.
        if index == 0 || left.is_some_and(|left| left.state != WaiterState::Waiting) {
            waiters.call(index);
        }
    }
}

impl Waiters {
    fn call(&mut self, index: usize) {
        let Some(waiter) = self.list.get_mut(index) else {
            return;
        };
        waiter.state = match waiter.state {
            WaiterState::Waiting | WaiterState::Called => WaiterState::Called,
            WaiterState::Trying | WaiterState::CalledAgain => WaiterState::CalledAgain,
        };
        waiter.notify.notify_one();
    }

    fn index(&self, ticket: u64) -> usize {
        self.list.partition_point(|waiter| waiter.ticket < ticket)
    }

    fn reason(&self) -> ErrorKind {
        self.refused_for.unwrap_or(ErrorKind::NoUpstream)
    }
}

#[cfg(test)]
mod tests;

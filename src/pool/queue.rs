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
//! everyone further ahead has had a turn. Who is refused for a reason that is his own calls the
//! next one; where the reason is everyone's, nobody else needs to ask.

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
pub(super) struct Queue(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    waiters: VecDeque<Waiter>,
    next_ticket: u64,
    /// Limit that the last try reached.
    refused_for: Option<ErrorKind>,
}

#[derive(Debug)]
struct Waiter {
    /// Grows from the first waiter to the last.
    ticket: u64,
    turn: Turn,
    bell: Arc<Notify>,
}

/// State of a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Waits,
    Called,
    Tries,
    /// Called again during its try, whose result may therefore be outdated.
    TriesAgain,
}

/// Waiters that a refusal concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// No waiter would be admitted now.
    Everyone,
    /// Other waiters may be admitted, as they can use other upstreams.
    ThisOne,
}

/// Ticket of a waiter, which leaves the queue on drop.
#[derive(Debug)]
pub(super) struct Place<'a> {
    queue: &'a Queue,
    ticket: u64,
    bell: Arc<Notify>,
}

impl Queue {
    /// Whether the queue is empty, so that a newcomer overtakes no waiter.
    pub(super) fn is_empty(&self) -> bool {
        self.line().waiters.is_empty()
    }

    /// Whether there are waiters, and the last try reached this limit.
    pub(super) fn waits_for(&self, kind: ErrorKind) -> bool {
        let line = self.line();
        !line.waiters.is_empty() && line.refused_for == Some(kind)
    }

    /// Joins the queue at its end, if there are fewer than `places` waiters. `refused_for` is the
    /// limit that the newcomer has reached, if it has tried.
    ///
    /// # Errors
    ///
    /// The limit that was reached, if the queue is full.
    pub(super) fn join(
        &self,
        places: usize,
        refused_for: Option<ErrorKind>,
    ) -> Result<Place<'_>, ErrorKind> {
        let mut line = self.line();
        line.refused_for = refused_for.or(line.refused_for);
        if line.waiters.len() >= places {
            // What the newcomer took, and gave back, may have kept a waiter from its lease.
            line.call(0);
            return Err(line.reason());
        }
        let ticket = line.next_ticket;
        line.next_ticket += 1;
        let bell = Arc::new(Notify::new());
        line.waiters.push_back(Waiter {
            ticket,
            turn: Turn::Waits,
            bell: Arc::clone(&bell),
        });
        line.call(0);
        Ok(Place {
            queue: self,
            ticket,
            bell,
        })
    }

    /// Calls the first waiter: a limit may have room.
    pub(super) fn call(&self) {
        self.line().call(0);
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Whether it is this waiter's turn to try. If so, `refused` or a drop must follow.
    pub(super) fn may_try(&self) -> bool {
        let mut line = self.queue.line();
        let index = line.index(self.ticket);
        let is_next = line
            .waiters
            .range(..index)
            .all(|ahead| ahead.turn == Turn::Waits);
        match line.waiters.get_mut(index) {
            Some(waiter) if is_next && waiter.turn == Turn::Called => {
                waiter.turn = Turn::Tries;
                true
            }
            _ => false,
        }
    }

    /// Records a try without success.
    pub(super) fn refused(&self, refused_for: ErrorKind, scope: Scope) {
        let mut line = self.queue.line();
        line.refused_for = Some(refused_for);
        let index = line.index(self.ticket);
        let Some(waiter) = line.waiters.get_mut(index) else {
            return;
        };
        let is_called = waiter.turn == Turn::TriesAgain;
        waiter.turn = Turn::Waits;
        if is_called {
            line.call(index);
        } else if scope == Scope::ThisOne {
            line.call(index + 1);
        }
    }

    /// Waits for a call, but not beyond `until`, at which all waiters get a try.
    pub(super) async fn called(&self, until: Instant) -> Result<(), TimeIsUp> {
        let called = timeout_at(until, self.bell.notified()).await;
        called.map_err(|_| {
            self.queue.call();
            TimeIsUp
        })
    }

    /// Returns the limit that keeps the waiters waiting.
    pub(super) fn reason(&self) -> ErrorKind {
        self.queue.line().reason()
    }
}

/// The time was over before a call.
#[derive(Debug)]
pub(super) struct TimeIsUp;

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut line = self.queue.line();
        let index = line.index(self.ticket);
        let left = line.waiters.remove(index);
        // A call goes on to the next waiter; also, the first one may have been the only one that
        // waited for a known time.
        if index == 0 || left.is_some_and(|left| left.turn != Turn::Waits) {
            line.call(index);
        }
    }
}

impl Line {
    fn call(&mut self, index: usize) {
        let Some(waiter) = self.waiters.get_mut(index) else {
            return;
        };
        waiter.turn = match waiter.turn {
            Turn::Waits | Turn::Called => Turn::Called,
            Turn::Tries | Turn::TriesAgain => Turn::TriesAgain,
        };
        waiter.bell.notify_one();
    }

    fn index(&self, ticket: u64) -> usize {
        self.waiters
            .partition_point(|waiter| waiter.ticket < ticket)
    }

    fn reason(&self) -> ErrorKind {
        self.refused_for.unwrap_or(ErrorKind::NoUpstream)
    }
}

#[cfg(test)]
mod tests;

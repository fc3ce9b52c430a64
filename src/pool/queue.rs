//! Who waits for a turn: first come, first served.
//!
//! ```text
//!           called ──► tries ──► leaves the line, with a lease or without
//!             ▲          │                                │
//!             │          ▼                                ▼
//! arrives ─► waits ◄── refused ── others may fare better ─► calls the next
//! ```
//!
//! Whenever something may have become free, the first in the line is called; nobody tries before
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

/// The line of those who wait.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    waiters: VecDeque<Waiter>,
    next_ticket: u64,
    /// What the last one was refused for.
    refused_for: Option<ErrorKind>,
}

#[derive(Debug)]
struct Waiter {
    /// Grows from the first to the last.
    ticket: u64,
    turn: Turn,
    bell: Arc<Notify>,
}

/// Where a waiter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Waits,
    Called,
    Tries,
    /// Called again while trying, so that what it saw may be out of date.
    TriesAgain,
}

/// Whom a refusal concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Nobody would be let in now.
    Everyone,
    /// Others may be, for whom other upstreams come into question.
    ThisOne,
}

/// A place in the line, given up on drop.
#[derive(Debug)]
pub(super) struct Place<'a> {
    queue: &'a Queue,
    ticket: u64,
    bell: Arc<Notify>,
}

impl Queue {
    /// Whether somebody waits, whom a newcomer must not overtake.
    pub(super) fn is_empty(&self) -> bool {
        self.line().waiters.is_empty()
    }

    /// Whether somebody waits, and it is for this that the last one was refused.
    pub(super) fn waits_for(&self, kind: ErrorKind) -> bool {
        let line = self.line();
        !line.waiters.is_empty() && line.refused_for == Some(kind)
    }

    /// Takes the last place, if there are no more than so many waiting. `refused_for` is what
    /// stands against the newcomer, if it knows.
    ///
    /// # Errors
    ///
    /// What stands against it, when there is no place.
    pub(super) fn join(
        &self,
        places: usize,
        refused_for: Option<ErrorKind>,
    ) -> Result<Place<'_>, ErrorKind> {
        let mut line = self.line();
        line.refused_for = refused_for.or(line.refused_for);
        if line.waiters.len() >= places {
            // What the newcomer took, and gave back, may have stood in somebody's way.
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

    /// Something may have become free.
    pub(super) fn call(&self) {
        self.line().call(0);
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Whether it is this one's turn to try. If so, `refused` must follow, or the end of the place.
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

    /// The try came to nothing.
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

    /// Waits for a call, until then at most. After that the time has come for everyone to ask.
    pub(super) async fn called(&self, until: Instant) -> Result<(), TimeIsUp> {
        let called = timeout_at(until, self.bell.notified()).await;
        called.map_err(|_| {
            self.queue.call();
            TimeIsUp
        })
    }

    /// What stands against those who wait.
    pub(super) fn reason(&self) -> ErrorKind {
        self.queue.line().reason()
    }
}

/// Nobody has called.
#[derive(Debug)]
pub(super) struct TimeIsUp;

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut line = self.queue.line();
        let index = line.index(self.ticket);
        let left = line.waiters.remove(index);
        // A call goes on to the next; and the first one may have been alone in knowing until when
        // to wait.
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

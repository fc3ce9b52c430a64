//! Queue, and the tickets of those who wait in it.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering, fence},
};

use tokio::{
    sync::Notify,
    task::yield_now,
    time::{Instant, timeout_at},
};

use crate::{error::ErrorKind, lock::lock};

use super::{
    group_key::{GroupKey, Needs, Refused},
    waiters::Waiters,
};

/// Queue of waiting handshakes.
#[derive(Debug, Default)]
pub(in crate::pool) struct Queue {
    waiters: Mutex<Waiters>,
    /// Number of waiters; spares the lock when there are none.
    count: AtomicUsize,
}

/// Ticket of a waiter, which leaves the queue on drop.
#[derive(Debug)]
pub(in crate::pool) struct QueueTicket<'a> {
    queue: &'a Queue,
    ticket: u64,
    notify: Arc<Notify>,
}

impl Queue {
    /// Whether the queue is empty, so that a newcomer overtakes no waiter.
    pub(in crate::pool) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    pub(in crate::pool) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether a newcomer may try without joining the queue: no waiter would take what it can get.
    pub(in crate::pool) fn admits(&self, group: &GroupKey) -> bool {
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
    pub(in crate::pool) fn waits_for(&self, kind: ErrorKind, group: &GroupKey) -> bool {
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
    pub(in crate::pool) fn join(
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
    pub(in crate::pool) fn call(&self) {
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
    pub(in crate::pool) fn may_try(&self) -> bool {
        self.queue.waiters().begin_try(self.ticket)
    }

    /// Records a try without success; true if the waiter was called meanwhile.
    pub(in crate::pool) fn refused(&self, refused: &Refused) -> bool {
        self.queue.waiters().refuse(self.ticket, refused)
    }

    /// Waits for a call, but not beyond `until`, at which the first waiters get a try.
    pub(in crate::pool) async fn called(&self, until: Instant) -> Result<(), TimedOut> {
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
    pub(in crate::pool) async fn in_turn<T>(
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
                        // Its own tries may be what calls it: a policy may change the pool each time.
                        if self.refused(&refused) {
                            yield_now().await;
                        }
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
    pub(in crate::pool) fn reason(&self) -> ErrorKind {
        let waiters = self.queue.waiters();
        let group = waiters.keys.get(&self.ticket);
        let reason = group.map(|group| waiters.reason(group));
        reason.unwrap_or(ErrorKind::NoUpstream)
    }
}

/// The time was over before a call.
#[derive(Debug)]
pub(in crate::pool) struct TimedOut;

impl Drop for QueueTicket<'_> {
    fn drop(&mut self) {
        let mut waiters = self.queue.waiters();
        waiters.leave(self.ticket);
        self.queue.count.store(waiters.count, Ordering::Relaxed);
    }
}

//! Limits that a route has beside those of its pool, with a queue of their own.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    error::{Error, ErrorKind},
    instant::saturating_add,
    upstream::admission::{Admission, AdmissionCounters, AdmissionKind, LimitReached, QueueLimits},
};

use super::queue::{GroupKey, Queue, RefusalScope, Refused};

/// Gate that every request of a route passes before it gets to the pool.
#[derive(Debug)]
pub(super) struct RouteGate {
    admission: Admission,
    queue_limits: QueueLimits,
    counters: AdmissionCounters,
    queue: Queue,
}

/// Place that a request takes of the route's limits until its end.
#[derive(Debug)]
pub(super) struct RoutePermit {
    gate: Arc<RouteGate>,
    is_handshaking: bool,
}

impl RouteGate {
    pub(super) fn new(admission: Admission, queue_limits: QueueLimits) -> Self {
        Self {
            admission,
            queue_limits,
            counters: AdmissionCounters::default(),
            queue: Queue::default(),
        }
    }

    pub(super) const fn admission(&self) -> &Admission {
        &self.admission
    }

    pub(super) const fn queue_limits(&self) -> QueueLimits {
        self.queue_limits
    }

    /// Takes a place, after waiting for it if necessary and if the kind may wait.
    ///
    /// # Errors
    ///
    /// The limit that was reached.
    pub(super) async fn pass(
        self: &Arc<Self>,
        kind: AdmissionKind,
        report: impl FnOnce(Duration, Option<ErrorKind>),
    ) -> Result<RoutePermit, Error> {
        let now = Instant::now();
        let group = GroupKey::new(0, None, std::iter::empty());
        let mut refused = None;
        if self.queue.is_empty() || self.queue.admits(&group) {
            match self.admit(kind, now) {
                Ok(permit) => return Ok(permit),
                Err(limit) if kind == AdmissionKind::Exchange => {
                    return Err(Error::new(limit.kind));
                }
                Err(limit) => refused = Some(refusal(limit)),
            }
        } else if kind == AdmissionKind::Exchange {
            return match self.queue.waits_for(ErrorKind::TooManyTunnels, &group) {
                true => Err(Error::new(ErrorKind::TooManyTunnels)),
                false => self
                    .admit(kind, now)
                    .map_err(|limit| Error::new(limit.kind)),
            };
        }
        let ticket = self
            .queue
            .join(group, self.queue_limits.max_waiters, refused)
            .map_err(Error::new)?;
        let deadline = saturating_add(now, self.queue_limits.max_wait);
        let attempt = |now| self.admit(kind, now).map_err(|limit| Some(refusal(limit)));
        let passed = ticket.in_turn(deadline, attempt).await;
        drop(ticket);
        report(now.elapsed(), passed.as_ref().err().copied());
        passed.map_err(Error::new)
    }

    fn admit(
        self: &Arc<Self>,
        kind: AdmissionKind,
        now: Instant,
    ) -> Result<RoutePermit, LimitReached> {
        self.counters.admit(kind, &self.admission, now)?;
        Ok(RoutePermit {
            gate: Arc::clone(self),
            is_handshaking: kind == AdmissionKind::Tunnel,
        })
    }
}

fn refusal(limit: LimitReached) -> Refused {
    Refused {
        wanted: None,
        kind: limit.kind,
        scope: RefusalScope::AllWaiters,
        retry_at: limit.retry_at,
    }
}

impl RoutePermit {
    /// Ends the handshake; the tunnel remains counted.
    pub(super) fn end_handshake(&mut self) {
        if std::mem::take(&mut self.is_handshaking) {
            self.gate.counters.end_handshake();
            self.gate.queue.call();
        }
    }
}

impl Drop for RoutePermit {
    fn drop(&mut self) {
        self.end_handshake();
        self.gate.counters.end_tunnel();
        self.gate.queue.call();
    }
}

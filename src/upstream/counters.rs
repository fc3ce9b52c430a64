//! Counters of one upstream, since it joined the pool.

use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

use crate::{error::ErrorKind, lock::lock};

/// Counts of an upstream since it joined the pool; see [`UpstreamStatus`](crate::pool::UpstreamStatus).
///
/// An upstream that is removed and added again within ten minutes keeps its counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamCounters {
    /// Attempts of clients: handshakes and forwarded requests for which the upstream was picked,
    /// whatever became of them.
    pub attempts: u64,
    /// Attempts of those that were made after another upstream had failed or refused.
    pub retries: u64,
    /// Attempts that failed, by kind, with the kinds that have occurred; failures of the client are
    /// not among them.
    pub failures: Vec<(ErrorKind, u64)>,
    /// Handshakes that the upstream refused, and responses to forwarded requests with a status of
    /// 500 or above.
    pub refusals: u64,
    /// Tunnels that were opened: handshakes that the upstream accepted.
    pub tunnels_opened: u64,
    /// Times that the upstream became unhealthy.
    pub ejections: u64,
}

/// Counters that are incremented.
#[derive(Debug, Default)]
pub(crate) struct LiveCounters {
    attempts: AtomicU64,
    retries: AtomicU64,
    /// Locked for failures and snapshots alone.
    failures: Mutex<Vec<(ErrorKind, u64)>>,
    refusals: AtomicU64,
    tunnels_opened: AtomicU64,
    ejections: AtomicU64,
}

impl LiveCounters {
    pub(crate) fn attempt(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fail(&self, kind: ErrorKind) {
        let mut failures = self.failures();
        match failures.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => failures.push((kind, 1)),
        }
    }

    pub(crate) fn refuse(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn open_tunnel(&self) {
        self.tunnels_opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn eject(&self) {
        self.ejections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> UpstreamCounters {
        UpstreamCounters {
            attempts: self.attempts.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            failures: self.failures().clone(),
            refusals: self.refusals.load(Ordering::Relaxed),
            tunnels_opened: self.tunnels_opened.load(Ordering::Relaxed),
            ejections: self.ejections.load(Ordering::Relaxed),
        }
    }

    fn failures(&self) -> MutexGuard<'_, Vec<(ErrorKind, u64)>> {
        lock(&self.failures)
    }
}

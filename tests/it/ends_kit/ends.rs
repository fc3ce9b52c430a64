//! The ends of a case's tunnels, as they come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wsplice::TunnelReport;

/// The ends of tunnels, as they come.
#[derive(Default)]
pub(super) struct Ends(Mutex<Vec<Ended>>);

/// One tunnel that is over: its number, and its report unless it was dropped.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(super) tunnel: usize,
    pub(crate) report: Option<TunnelReport>,
}

/// Reports the end of a tunnel's future, however it comes to it. Dropped behind the tunnel.
pub(super) struct Witness {
    tunnel: usize,
    report: Option<TunnelReport>,
    ends: Arc<Ends>,
}

impl Witness {
    pub(super) fn new(tunnel: usize, ends: &Arc<Ends>) -> Self {
        Self {
            tunnel,
            report: None,
            ends: Arc::clone(ends),
        }
    }

    pub(super) fn saw(&mut self, report: TunnelReport) {
        self.report = Some(report);
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let report = self.report.take();
        let tunnel = self.tunnel;
        self.ends.lock().push(Ended { tunnel, report });
    }
}

impl Ends {
    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Ended>> {
        lock(&self.0)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

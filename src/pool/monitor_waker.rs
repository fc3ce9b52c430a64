//! Waker of the monitor.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Waker of the monitor, of which there is at most one.
#[derive(Debug, Default)]
pub(super) struct MonitorWaker {
    notify: Notify,
    /// Whether a probe is due at another time than the monitor has queued.
    is_rescheduled: AtomicBool,
    has_monitor: AtomicBool,
}

impl MonitorWaker {
    /// Wakes the monitor: something has changed.
    pub(super) fn wake(&self) {
        self.notify.notify_one();
    }

    /// Wakes the monitor: a probe is due at another time.
    pub(super) fn reschedule(&self) {
        self.is_rescheduled.store(true, Ordering::Release);
        self.wake();
    }

    /// For the monitor: waits for the next notification, or for an earlier one that was not
    /// received.
    pub(super) async fn notified(&self) {
        self.notify.notified().await;
    }

    /// For the monitor: whether it must queue all probes again.
    pub(super) fn take_reschedule(&self) -> bool {
        self.is_rescheduled.swap(false, Ordering::AcqRel)
    }

    /// Whether there is a monitor.
    pub(super) fn has_monitor(&self) -> bool {
        self.has_monitor.load(Ordering::Acquire)
    }

    /// Registers the caller as the monitor; false if there is one already.
    pub(super) fn register(&self) -> bool {
        !self.has_monitor.swap(true, Ordering::AcqRel)
    }

    pub(super) fn unregister(&self) {
        self.has_monitor.store(false, Ordering::Release);
    }
}

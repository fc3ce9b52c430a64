//! How the monitor is woken.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Wakes the monitor, of which there is one at most.
#[derive(Debug, Default)]
pub(super) struct Bell {
    notify: Notify,
    /// Whether somebody is to be probed at another time than the monitor knows.
    is_rescheduled: AtomicBool,
    is_heard: AtomicBool,
}

impl Bell {
    /// There is something new to look at.
    pub(super) fn ring(&self) {
        self.notify.notify_one();
    }

    /// Somebody is to be probed at another time.
    pub(super) fn reschedule(&self) {
        self.is_rescheduled.store(true, Ordering::Release);
        self.ring();
    }

    /// The monitor's own: waits for the next ring, or one that nobody heard.
    pub(super) async fn rung(&self) {
        self.notify.notified().await;
    }

    /// The monitor's own: whether it has to ask everybody anew.
    pub(super) fn take_rescheduled(&self) -> bool {
        self.is_rescheduled.swap(false, Ordering::AcqRel)
    }

    /// Whether there is a monitor.
    pub(super) fn is_heard(&self) -> bool {
        self.is_heard.load(Ordering::Acquire)
    }

    /// True for one caller, who is the monitor until it says that it leaves.
    pub(super) fn listen(&self) -> bool {
        !self.is_heard.swap(true, Ordering::AcqRel)
    }

    pub(super) fn leave(&self) {
        self.is_heard.store(false, Ordering::Release);
    }
}

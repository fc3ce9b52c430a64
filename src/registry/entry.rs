//! One tunnel as the registry sees it.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
};

use tokio::sync::Notify;

use crate::report::TunnelInfo;

use super::{
    command::Command,
    status::{Figures, TunnelStatus},
};

/// A tunnel in the registry: the figures that it shows, and the commands that it gets.
pub(crate) struct Entry {
    info: TunnelInfo,
    figures: Figures,
    /// Whether there is a command that the tunnel has not taken; spares it the lock.
    has_command: AtomicBool,
    control: Mutex<Control>,
    has_ended: AtomicBool,
}

#[derive(Default)]
struct Control {
    command: Option<Box<Command>>,
    waker: Option<Waker>,
    /// Exists only while a drain waits for the end.
    end: Option<Arc<Notify>>,
}

impl Control {
    fn is_to_abort(&self) -> bool {
        self.command.as_deref().is_some_and(Command::is_abort)
    }
}

impl Entry {
    pub(super) fn new(info: TunnelInfo) -> Self {
        Self {
            info,
            figures: Figures::default(),
            has_command: AtomicBool::new(false),
            control: Mutex::default(),
            has_ended: AtomicBool::new(false),
        }
    }

    pub(crate) const fn info(&self) -> &TunnelInfo {
        &self.info
    }

    pub(crate) const fn figures(&self) -> &Figures {
        &self.figures
    }

    pub(super) fn status(&self) -> TunnelStatus {
        self.figures.status(&self.info)
    }

    /// Gives the tunnel a command, and wakes it. A newer command replaces one that the tunnel has
    /// not taken yet, unless that is to abort.
    pub(crate) fn send_command(&self, command: Command) {
        let waker = {
            let mut control = self.control();
            if control.is_to_abort() {
                return;
            }
            control.command = Some(Box::new(command));
            self.has_command.store(true, Ordering::Release);
            control.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until the tunnel is over.
    pub(crate) async fn ended(&self) {
        let end = Arc::clone(self.control().end.get_or_insert_default());
        // Created before the look, so that an end in between is not missed.
        let end = end.notified();
        if !self.has_ended.load(Ordering::Acquire) {
            end.await;
        }
    }

    /// Marks the tunnel as over.
    pub(super) fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
        if let Some(end) = self.control().end.take() {
            end.notify_waiters();
        }
    }

    /// For the tunnel alone, before it runs: waits for the command to abort.
    pub(crate) async fn aborted(&self) {
        poll_fn(|cx| {
            let mut control = self.control();
            if control.is_to_abort() {
                return Poll::Ready(());
            }
            control.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// For the tunnel alone: sets which task a command wakes.
    pub(crate) fn register(&self, waker: &Waker) {
        self.control().waker = Some(waker.clone());
    }

    /// For the tunnel alone: a new command, once.
    #[inline]
    pub(crate) fn take_command(&self) -> Option<Command> {
        if !self.has_command.load(Ordering::Acquire) {
            return None;
        }
        let mut control = self.control();
        self.has_command.store(false, Ordering::Release);
        control.command.take().map(|command| *command)
    }

    /// The data is whole after every statement under the lock, so a panic elsewhere harms nothing.
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

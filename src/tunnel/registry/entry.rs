//! Entry of one tunnel in the registry.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Poll, Waker},
};

use tokio::sync::Notify;

use crate::{lock::lock, tunnel::info::TunnelInfo, tunnel::report::TunnelEnd};

use super::{
    command::{Command, PendingCommands, Revocable},
    move_order::{MoveOrder, PendingMoves},
    status::{Figures, TunnelStatus},
};

/// Entry of a tunnel: its figures, and the commands to it.
pub(crate) struct Entry {
    info: TunnelInfo,
    figures: Figures,
    control: Mutex<Control>,
    /// The tunnel's slot in the group of its owner, if it has one.
    slot: AtomicU32,
    /// Whether a command waits that the tunnel has not taken; read without the lock.
    has_command: AtomicBool,
    /// Whether the tunnel is over, though its report may not have been made.
    is_over: AtomicBool,
    /// Whether a leg was cut off.
    was_cut: AtomicBool,
    /// Whether the tunnel is over and its report was made.
    has_ended: AtomicBool,
}

#[derive(Default)]
struct Control {
    /// Exists from the first command on, or the first wait for the end.
    attention: Option<Box<Attention>>,
    waker: Option<Waker>,
}

/// Commands to a tunnel, waits for its end, and its later upstreams.
#[derive(Default)]
struct Attention {
    commands: PendingCommands,
    moves: PendingMoves,
    /// Exists only while a drain waits for the end.
    end: Option<Arc<Notify>>,
    /// The upstream of a tunnel that was reattached.
    upstream: Option<Arc<str>>,
}

/// How a tunnel's legs ended, as a drain counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// In order.
    Orderly,
    /// A leg was cut off: by an abort, for want of an answer to our close frame, because it was
    /// lost or stood inside a frame, or because the tunnel was dropped.
    Cut,
}

impl Control {
    /// The end of the abort that is in force, if one is.
    fn next_abort(&self) -> Option<TunnelEnd> {
        self.attention.as_ref()?.commands.next_abort()
    }
}

impl Entry {
    pub(crate) fn new(info: TunnelInfo) -> Self {
        Self {
            info,
            figures: Figures::default(),
            control: Mutex::default(),
            slot: AtomicU32::new(0),
            has_command: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            was_cut: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
        }
    }

    pub(crate) const fn info(&self) -> &TunnelInfo {
        &self.info
    }

    pub(crate) const fn figures(&self) -> &Figures {
        &self.figures
    }

    pub(crate) fn status(&self) -> TunnelStatus {
        self.with_current_info(|info| self.figures.status(info))
    }

    /// Calls a function with the facts of the tunnel, and with the upstream that it has now.
    pub(crate) fn with_current_info<T>(&self, call: impl FnOnce(&TunnelInfo) -> T) -> T {
        let upstream = {
            let control = self.control();
            let attention = control.attention.as_ref();
            attention.and_then(|attention| attention.upstream.clone())
        };
        match upstream {
            None => call(&self.info),
            Some(upstream) => {
                let mut info = self.info.clone();
                info.upstream = upstream;
                call(&info)
            }
        }
    }

    /// Sets the upstream that the tunnel has now.
    pub(super) fn set_upstream(&self, upstream: Arc<str>) {
        self.control().attention.get_or_insert_default().upstream = Some(upstream);
    }

    pub(super) fn slot(&self) -> u32 {
        self.slot.load(Ordering::Relaxed)
    }

    pub(super) fn set_slot(&self, slot: u32) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// Sends the tunnel a command, and wakes it. The earliest of several is in force: a later close
    /// never postpones one.
    pub(crate) fn send_command(&self, command: Command) {
        self.add_command(command, Revocable::Never);
    }

    /// Gives the tunnel a command that its issuer can [call off](Self::cancel_revocable).
    pub(crate) fn send_revocable(&self, command: Command, issuer: Revocable) {
        self.add_command(command, issuer);
    }

    /// Calls off the commands of this issuer that the tunnel has not begun with.
    pub(crate) fn cancel_revocable(&self, issuer: Revocable) {
        self.change(|control| {
            control.attention.as_mut().is_some_and(|attention| {
                // Both.
                attention.commands.cancel(issuer) | attention.moves.cancel(issuer)
            })
        });
    }

    /// Orders the tunnel to move to another upstream.
    pub(crate) fn send_move(&self, order: MoveOrder, issuer: Revocable) {
        self.change(|control| {
            let attention = control.attention.get_or_insert_default();
            attention.moves.add(order, issuer)
        });
    }

    /// For the tunnel alone: the order to move that counts.
    pub(crate) fn move_order(&self) -> Option<MoveOrder> {
        let control = self.control();
        control.attention.as_ref()?.moves.next().cloned()
    }

    /// For the tunnel alone: gives up the moves, and takes the commands in their place.
    pub(crate) fn give_up_moves(&self) {
        let mut control = self.control();
        let Some(attention) = &mut control.attention else {
            return;
        };
        for (command, issuer) in attention.moves.give_up() {
            attention.commands.add(command, issuer);
        }
        self.has_command.store(true, Ordering::Release);
    }

    fn add_command(&self, command: Command, revocable: Revocable) {
        self.change(|control| {
            let attention = control.attention.get_or_insert_default();
            attention.commands.add(command, revocable)
        });
    }

    /// Applies a change, and wakes the tunnel if it returns that another command is in force now.
    fn change(&self, change: impl FnOnce(&mut Control) -> bool) {
        let waker = {
            let mut control = self.control();
            if !change(&mut control) {
                return;
            }
            self.has_command.store(true, Ordering::Release);
            control.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until the tunnel is over and its report was made.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn ended(&self) {
        let end = {
            let mut control = self.control();
            let attention = control.attention.get_or_insert_default();
            Arc::clone(attention.end.get_or_insert_default())
        };
        // Created before the check, so that an end in between is not missed.
        let end = end.notified();
        if !self.has_ended() {
            end.await;
        }
    }

    /// Marks the tunnel as over; returns false if it was already.
    pub(super) fn set_over(&self, departure: Departure) -> bool {
        let mut control = self.control();
        if departure == Departure::Cut || control.next_abort().is_some() {
            self.was_cut.store(true, Ordering::Release);
        }
        // Handles may outlive the tunnel, and must not keep its task.
        let waker = control.waker.take();
        drop(control);
        drop(waker);
        !self.is_over.swap(true, Ordering::AcqRel)
    }

    /// Marks the report of the tunnel as made.
    pub(super) fn set_ended(&self) {
        self.has_ended.store(true, Ordering::Release);
        let end = self
            .control()
            .attention
            .as_mut()
            .and_then(|attention| attention.end.take());
        if let Some(end) = end {
            end.notify_waiters();
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Whether a leg was cut off; certain once the tunnel is over.
    pub(crate) fn was_cut(&self) -> bool {
        self.was_cut.load(Ordering::Acquire)
    }

    /// For the tunnel alone, before it runs: waits for the command to abort, and returns its end.
    pub(crate) async fn aborted(&self) -> TunnelEnd {
        poll_fn(|cx| {
            let mut control = self.control();
            if let Some(end) = control.next_abort() {
                return Poll::Ready(end);
            }
            control.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// For the tunnel alone: sets which task a command wakes.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut control = self.control();
        match &mut control.waker {
            Some(registered) => registered.clone_from(waker),
            None => control.waker = Some(waker.clone()),
        }
    }

    /// For the tunnel alone: the command that is in force, once after each change.
    #[inline]
    pub(crate) fn take_command(&self) -> Option<Command> {
        if !self.has_command.load(Ordering::Acquire) {
            return None;
        }
        let control = self.control();
        self.has_command.store(false, Ordering::Release);
        let attention = control.attention.as_ref()?;
        Some(attention.commands.next())
    }

    /// The data is whole after every statement under the lock, so a panic elsewhere harms nothing.
    fn control(&self) -> MutexGuard<'_, Control> {
        lock(&self.control)
    }
}

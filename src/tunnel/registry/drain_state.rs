//! State that all drains of a registry share.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::watch;

use crate::{frame::CloseFrame, lock::lock};

/// Whether new tunnels are refused, and the forwarded requests that a drain waits for.
#[derive(Default)]
pub(crate) struct DrainState {
    is_draining: AtomicBool,
    /// The close frame of the drain that began last, for tunnels that are listed after its start.
    frame: Mutex<Option<CloseFrame>>,
    /// Goes up when new tunnels are allowed again.
    resumes: watch::Sender<u64>,
    /// Forwarded requests under way.
    in_flight: watch::Sender<usize>,
    /// Goes up when the forwarded requests are cut off.
    cuts: watch::Sender<u64>,
}

/// A forwarded request's place among those that a drain waits for, given up on drop.
#[derive(Debug)]
pub(crate) struct InFlightRequest {
    state: Arc<DrainState>,
    cuts: watch::Receiver<u64>,
}

impl DrainState {
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// The close frame for a tunnel that has just been entered, if new ones are refused.
    pub(super) fn close_frame(&self) -> Option<CloseFrame> {
        if !self.is_draining() {
            return None;
        }
        self.frame().clone()
    }

    pub(crate) fn refuse_new(&self, frame: CloseFrame) {
        *self.frame() = Some(frame);
        self.is_draining.store(true, Ordering::Release);
    }

    pub(crate) fn resume(&self) {
        self.is_draining.store(false, Ordering::Release);
        self.resumes.send_modify(|resumes| *resumes += 1);
    }

    /// Changes when new tunnels are allowed again.
    pub(crate) fn resumes(&self) -> watch::Receiver<u64> {
        self.resumes.subscribe()
    }

    /// The number of forwarded requests under way. Only zero is a change that wakes.
    pub(crate) fn in_flight(&self) -> watch::Receiver<usize> {
        self.in_flight.subscribe()
    }

    /// Cuts off the forwarded requests under way, and returns their number.
    pub(crate) fn cut_requests(&self) -> usize {
        self.cuts.send_modify(|cuts| *cuts += 1);
        *self.in_flight.borrow()
    }

    /// Registers a forwarded request, which drains then wait for.
    pub(crate) fn enter_request(self: &Arc<Self>) -> InFlightRequest {
        self.in_flight.send_if_modified(|requests| {
            *requests += 1;
            false
        });
        InFlightRequest {
            state: Arc::clone(self),
            cuts: self.cuts.subscribe(),
        }
    }

    fn frame(&self) -> MutexGuard<'_, Option<CloseFrame>> {
        lock(&self.frame)
    }
}

impl InFlightRequest {
    /// Changes when the request is to be cut off.
    pub(crate) fn cuts(&self) -> watch::Receiver<u64> {
        self.cuts.clone()
    }

    /// Whether the request has been cut off.
    pub(crate) fn is_cut(&self) -> bool {
        self.cuts.has_changed().unwrap_or(false)
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        let in_flight = &self.state.in_flight;
        in_flight.send_if_modified(|requests| {
            *requests -= 1;
            // Few requests are under way at the end of a drain, and none waits at other times.
            *requests == 0 && in_flight.receiver_count() > 0
        });
    }
}

impl fmt::Debug for DrainState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainState")
            .field("is_draining", &self.is_draining())
            .finish_non_exhaustive()
    }
}

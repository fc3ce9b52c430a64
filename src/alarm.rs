//! A timer that is re-armed lazily.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Timer of a task whose deadline moves often: the one timer of a tunnel, or of a response.
///
/// Most deadlines move later each time bytes pass. The timer stays armed for the earlier moment
/// and is compared with the deadline when it fires; only a deadline that moves earlier touches the
/// timer wheel at once. A pong moves the deadline by a whole interval, and then the timer is
/// [moved too](Self::postpone): otherwise it would wake the task in vain.
///
/// The timer is created at the first deadline: with the default settings a tunnel that never
/// stalls has none before its end.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Ready once `deadline` has passed.
    pub(crate) fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            let armed_for = sleep.deadline();
            if armed_for > deadline || (armed_for < deadline && sleep.is_elapsed()) {
                sleep.as_mut().reset(deadline);
            }
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
        }
    }

    /// Whether the timer wakes the task that [polled](Self::poll_until) it last, at this deadline or
    /// before. That task then need not poll it again.
    #[inline]
    pub(crate) fn is_armed_for(&self, deadline: Instant) -> bool {
        let sleep = self.sleep.as_ref();
        // A timer that has fired lost its waker; any other one was polled when it was armed.
        sleep.is_some_and(|sleep| sleep.deadline() <= deadline && !sleep.is_elapsed())
    }

    /// Returns when the timer wakes the task, if it is armed.
    pub(crate) fn armed_for(&self) -> Option<Instant> {
        let sleep = self.sleep.as_ref().filter(|sleep| !sleep.is_elapsed());
        sleep.map(|sleep| sleep.deadline())
    }

    /// Moves the timer to a deadline that is later now.
    pub(crate) fn postpone(&mut self, deadline: Instant) {
        let sleep = self.sleep.as_mut().filter(|sleep| !sleep.is_elapsed());
        if let Some(sleep) = sleep.filter(|sleep| sleep.deadline() < deadline) {
            sleep.as_mut().reset(deadline);
        }
    }
}

//! The one timer of a tunnel, re-armed lazily.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Wakes the tunnel at its next deadline.
///
/// Deadlines mostly move away, each time bytes pass. The timer stays where it was and looks
/// again when it fires; only a deadline that comes nearer touches the timer wheel at once. A pong
/// moves it away for a whole interval, and the timer with it: to look again costs a wake-up.
///
/// It is made when there is a first deadline: with the default settings a tunnel that is never
/// stalled has none before its end.
#[derive(Default)]
pub(super) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    is_armed: bool,
}

impl Alarm {
    /// Ready once `deadline` has passed.
    pub(super) fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            if !self.is_armed || sleep.deadline() > deadline {
                sleep.as_mut().reset(deadline);
                self.is_armed = true;
            }
            ready!(sleep.as_mut().poll(cx));
            self.is_armed = false;
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
        }
    }

    /// Moves the timer along with a deadline that went away.
    pub(super) fn postpone(&mut self, deadline: Instant) {
        let sleep = self.sleep.as_mut().filter(|_| self.is_armed);
        if let Some(sleep) = sleep.filter(|sleep| sleep.deadline() < deadline) {
            sleep.as_mut().reset(deadline);
        }
    }
}

//! The one timer of a tunnel, re-armed lazily.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is to fire so much too early is not left where it was: that costs a wake-up.
const FAR_TOO_EARLY: Duration = Duration::from_secs(1);

/// Wakes the tunnel at its next deadline.
///
/// Deadlines mostly move away, each time bytes pass. The timer stays where it was and looks
/// again when it fires; only a deadline that comes nearer, or one that moves far away at once, as
/// a pong does it, touches the timer.
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
            let is_too_late = sleep.deadline() > deadline;
            let early = deadline.saturating_duration_since(sleep.deadline());
            if !self.is_armed || is_too_late || early > FAR_TOO_EARLY {
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
}

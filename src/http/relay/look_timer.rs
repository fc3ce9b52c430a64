//! The timer of a clock.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Timer that wakes a task when a clock is to be looked at.
#[derive(Debug, Default)]
pub(crate) struct LookTimer(Option<Pin<Box<Sleep>>>);

impl LookTimer {
    /// Polls until it is time for the next look. Without one, the task sleeps until something else
    /// wakes it.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, next: Option<Instant>) -> Poll<()> {
        let Some(next) = next else {
            return Poll::Pending;
        };
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(next)));
        // The timer may be set earlier: a look too many costs less than a timer set each time.
        if timer.is_elapsed() || next < timer.deadline() {
            timer.as_mut().reset(next);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(())
    }
}

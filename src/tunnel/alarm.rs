//! The one timer of a tunnel, re-armed lazily.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

pin_project! {
    /// Wakes the tunnel at its next deadline.
    ///
    /// Deadlines mostly move away, each time bytes pass. The timer stays where it was and looks
    /// again when it fires; only a deadline that comes nearer touches the timer wheel at once.
    pub(super) struct Alarm {
        #[pin]
        sleep: Sleep,
        armed: Option<Instant>,
    }
}

impl Alarm {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sleep: sleep_until(now),
            armed: None,
        }
    }

    /// Ready once `deadline` has passed.
    pub(super) fn poll_until(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        deadline: Instant,
    ) -> Poll<()> {
        let mut this = self.project();
        loop {
            match *this.armed {
                Some(armed) if armed <= deadline => {}
                _ => {
                    this.sleep.as_mut().reset(deadline);
                    *this.armed = Some(deadline);
                }
            }
            ready!(this.sleep.as_mut().poll(cx));
            if this.armed.take().is_none_or(|armed| armed >= deadline) {
                return Poll::Ready(());
            }
        }
    }
}

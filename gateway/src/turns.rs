//! Turns: what computes for long in one go, such as a TLS handshake, lets the other tasks of its worker run
//! in between.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::{Notify, Semaphore};
use tokio::task::yield_now;

/// Turns of one worker. A future holds its turn while it computes, and not while it waits for a peer: so no
/// peer can hold a turn by its silence.
#[derive(Debug)]
pub(crate) struct Turns(Semaphore);

/// Whether the future in a turn has been woken since its last one.
#[derive(Debug, Default)]
struct Woken(Notify);

impl Turns {
    /// Futures that compute between two runs of each other task of the worker. One at a time would give a
    /// worker with many busy tunnels too few handshakes.
    pub(crate) const AT_ONCE: usize = 16;

    pub(crate) const fn new() -> Self {
        Self(Semaphore::const_new(Self::AT_ONCE))
    }

    /// Waits for a future, each poll of which takes a turn, first come, first served.
    ///
    /// # Cancellation
    ///
    /// Drops the future, and gives its turn to the next one.
    pub(crate) async fn take<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        loop {
            // Never closed, so that there is always a turn.
            let turn = self.0.acquire().await;
            let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
            // The turn is over once every other task that is ready has run.
            yield_now().await;
            drop(turn);
            match polled {
                Poll::Ready(output) => return output,
                Poll::Pending => woken.0.notified().await,
            }
        }
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        // Remembered where the future does not wait yet.
        self.0.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::future::{pending, poll_fn};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::poll;
    use tokio::sync::oneshot;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    #[tokio::test]
    async fn a_future_that_waits_holds_no_turn() {
        let turns = Turns::new();
        let mut waiting: Vec<_> = (0..2 * Turns::AT_ONCE)
            .map(|_| Box::pin(turns.take(pending::<()>())))
            .collect();
        for _ in 0..6 {
            for future in &mut waiting {
                assert!(poll!(future).is_pending());
            }
            yield_now().await;
        }
        let another = timeout(Duration::from_secs(1), turns.take(async { 7 }));
        assert_eq!(another.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn other_tasks_run_between_the_turns_of_many_futures() {
        const ALL: usize = 10 * Turns::AT_ONCE;
        let (turns, computed) = (Arc::new(Turns::new()), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..ALL {
            let (turns, computed) = (Arc::clone(&turns), Arc::clone(&computed));
            let compute = async move { computed.fetch_add(1, Ordering::Relaxed) };
            tasks.spawn(async move { turns.take(compute).await });
        }
        let other = tokio::spawn(async move {
            let (mut before, mut most) = (0, 0);
            while before < ALL {
                let now = computed.load(Ordering::Relaxed);
                most = most.max(now - before);
                before = now;
                yield_now().await;
            }
            most
        });
        let most = other.await.unwrap();
        assert!(most <= Turns::AT_ONCE, "{most} futures in one go");
        tasks.join_all().await;
    }

    #[tokio::test]
    async fn a_future_that_is_woken_in_its_own_turn_gets_another() {
        let mut polls = 0;
        let future = poll_fn(|cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            if polls == 3 {
                Poll::Ready(polls)
            } else {
                Poll::Pending
            }
        });
        assert_eq!(Turns::new().take(future).await, 3);
    }

    #[tokio::test]
    async fn a_future_goes_on_when_it_is_woken_from_elsewhere() {
        let (sender, receiver) = oneshot::channel();
        let turns = Turns::new();
        let mut taking = pin!(turns.take(receiver));
        for _ in 0..4 {
            assert!(poll!(&mut taking).is_pending());
            yield_now().await;
        }
        sender.send(5).unwrap();
        assert_eq!(taking.await, Ok(5));
    }
}

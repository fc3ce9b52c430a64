//! Streams in flight on one HTTP/2 connection, and the idle time between them.

use std::time::Duration;

use futures_util::FutureExt;
use hyper::rt::Executor;
use tokio::sync::watch;
use tokio::task;
use tokio::time::timeout;

/// Bound on the time between two requests of an HTTP/2 connection. Over HTTP/1.1 the bound on the
/// next request's head is shorter.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Executor of one connection, and the count of its tasks. hyper runs each stream in a task, up to the end
/// of its response, and each that was upgraded to a WebSocket in one more, up to the WebSocket's end. So
/// the connection knows its own tunnels, and needs no look at those of all others.
#[derive(Clone, Debug)]
pub(crate) struct InFlight(watch::Sender<usize>);

/// Place of a stream among those in flight.
#[derive(Debug)]
struct Place(watch::Sender<usize>);

/// Why a connection is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// No request came.
    NoRequest,
    /// No further request came, and nothing is open.
    NoMore,
}

impl InFlight {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Waits until the connection is idle: without a first request for `first_within`, or without
    /// a stream for the idle timeout.
    pub(crate) fn idle(&self, first_within: Duration) -> impl Future<Output = Idle> + use<> {
        let mut count = self.0.subscribe();
        async move {
            if timeout(first_within, count.changed()).await.is_err() {
                return Idle::NoRequest;
            }
            loop {
                // The sender lives as long as the connection, which ends this future.
                let _ = count.wait_for(|count| *count == 0).await;
                if timeout(IDLE_TIMEOUT, count.changed()).await.is_err() {
                    return Idle::NoMore;
                }
            }
        }
    }

    fn enter(&self) -> Place {
        self.0.send_modify(|count| *count += 1);
        Place(self.0.clone())
    }
}

impl<F> Executor<F> for InFlight
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let place = self.enter();
        // No `async` block, which would hold the stream twice.
        task::spawn(stream.map(|()| drop(place)));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::sync::oneshot;
    use tokio::time::{Instant, sleep};

    const FIRST: Duration = Duration::from_secs(10);

    /// Runs a stream until the sender is used or dropped.
    fn stream(in_flight: &InFlight) -> oneshot::Sender<()> {
        let (end, ended) = oneshot::channel();
        in_flight.execute(ended.map(|_| ()));
        end
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_idle_after_the_first_bound() {
        let in_flight = InFlight::new();
        let began = Instant::now();
        assert_eq!(in_flight.idle(FIRST).await, Idle::NoRequest);
        assert_eq!(began.elapsed(), FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_a_minute_after_its_last_stream() {
        let in_flight = InFlight::new();
        let idle = tokio::spawn(in_flight.idle(FIRST));
        let (first, other) = (stream(&in_flight), stream(&in_flight));
        sleep(IDLE_TIMEOUT * 10).await;
        drop(first);
        sleep(IDLE_TIMEOUT * 10).await;
        assert!(!idle.is_finished());
        drop(other);
        let began = Instant::now();
        sleep(IDLE_TIMEOUT / 2).await;
        drop(stream(&in_flight));
        assert_eq!(idle.await.unwrap(), Idle::NoMore);
        assert_eq!(began.elapsed(), IDLE_TIMEOUT * 3 / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_does_not_wake_its_connection() {
        let in_flight = InFlight::new();
        let mut idle = pin!(in_flight.idle(FIRST));
        let _open = stream(&in_flight);
        let mut polls = 0;
        let counting = poll_fn(|cx| {
            polls += 1;
            idle.as_mut().poll(cx)
        });
        assert!(timeout(IDLE_TIMEOUT * 100, counting).await.is_err());
        assert!(polls < 10, "woken {polls} times");
    }
}

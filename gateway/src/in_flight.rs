//! Requests in flight on one connection, and the idle time between them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::timeout;

/// Bound on the time between two requests of an HTTP/2 connection. Over HTTP/1.1 the bound on the
/// next request's head is shorter.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Requests in flight on one connection.
#[derive(Debug)]
pub(crate) struct InFlight {
    count: watch::Sender<usize>,
    /// Whether a request asked for a WebSocket on a stream of the connection.
    has_connect: Arc<AtomicBool>,
}

/// Place of a request among those in flight, up to the end of its response.
#[derive(Debug)]
pub(crate) struct RequestInFlight(watch::Sender<usize>);

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
        Self {
            count: watch::Sender::new(0),
            has_connect: Arc::default(),
        }
    }

    /// Counts a request.
    pub(crate) fn enter(&self, is_connect: bool) -> RequestInFlight {
        if is_connect {
            self.has_connect.store(true, Ordering::Relaxed);
        }
        self.count.send_modify(|count| *count += 1);
        RequestInFlight(self.count.clone())
    }

    /// Waits until the connection is idle: without a first request for `first_within`, or without
    /// another one for the idle timeout. A connection on which `has_tunnel` is not idle.
    pub(crate) fn idle<F: Fn() -> bool>(
        &self,
        first_within: Duration,
        has_tunnel: F,
    ) -> impl Future<Output = Idle> + use<F> {
        let mut count = self.count.subscribe();
        let has_connect = Arc::clone(&self.has_connect);
        async move {
            if timeout(first_within, count.changed()).await.is_err() {
                return Idle::NoRequest;
            }
            loop {
                // The sender lives as long as the connection, which ends this future.
                let _ = count.wait_for(|count| *count == 0).await;
                let is_over = timeout(IDLE_TIMEOUT, count.changed()).await.is_err();
                if is_over && !(has_connect.load(Ordering::Relaxed) && has_tunnel()) {
                    return Idle::NoMore;
                }
            }
        }
    }
}

impl RequestInFlight {
    /// Keeps the place until the body has ended or is dropped.
    pub(crate) fn until_end_of(self, body: Body) -> Body {
        Body::new(TrackedBody { body, _place: self })
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Body of a response, with the place of its request.
struct TrackedBody {
    body: Body,
    _place: RequestInFlight,
}

impl hyper::body::Body for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::time::{Instant, sleep};

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_idle_after_the_first_bound() {
        let in_flight = InFlight::new();
        let began = Instant::now();
        let first = Duration::from_secs(10);
        assert_eq!(in_flight.idle(first, || true).await, Idle::NoRequest);
        assert_eq!(began.elapsed(), first);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_a_minute_after_its_last_response() {
        let in_flight = InFlight::new();
        let idle = in_flight.idle(Duration::from_secs(10), || true);
        let idle = tokio::spawn(idle);
        let request = in_flight.enter(false);
        sleep(IDLE_TIMEOUT * 10).await;
        let body = request.until_end_of(Body::empty());
        sleep(IDLE_TIMEOUT).await;
        drop(body);
        let began = Instant::now();
        sleep(IDLE_TIMEOUT / 2).await;
        drop(in_flight.enter(false));
        assert_eq!(idle.await.unwrap(), Idle::NoMore);
        assert_eq!(began.elapsed(), IDLE_TIMEOUT * 3 / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_an_open_websocket_is_not_idle() {
        let in_flight = InFlight::new();
        let (has_tunnel, open) = watch::channel(true);
        let idle = in_flight.idle(Duration::from_secs(10), move || *open.borrow());
        let idle = tokio::spawn(idle);
        drop(in_flight.enter(true));
        sleep(IDLE_TIMEOUT * 10).await;
        assert!(!idle.is_finished());
        has_tunnel.send_replace(false);
        assert_eq!(idle.await.unwrap(), Idle::NoMore);
    }
}

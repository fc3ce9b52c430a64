//! Body of an upstream's refusal over HTTP/1.1.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn::http1::Connection};
use hyper_util::rt::TokioIo;

use crate::error::BoxError;

use super::{idle_timer::IdleTimer, replay::Replay};

/// A connection to an upstream, driven by hyper.
pub(super) type HyperConnection = Connection<TokioIo<Replay>, Empty<Bytes>>;

/// Body of a response other than 101, with its connection.
///
/// Dropping it closes the connection: after a refused upgrade the upstream may not expect another
/// request.
pub(crate) struct Http1RefusalBody {
    connection: Box<HyperConnection>,
    connection_is_done: bool,
    body: Incoming,
    idle_timer: IdleTimer,
}

impl Http1RefusalBody {
    pub(super) fn new(connection: HyperConnection, body: Incoming, timeout: Duration) -> Self {
        Self {
            connection: Box::new(connection),
            connection_is_done: false,
            body,
            idle_timer: IdleTimer::new(timeout),
        }
    }
}

impl Body for Http1RefusalBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if !this.connection_is_done {
            this.connection_is_done = this.connection.poll_without_shutdown(cx).is_ready();
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        this.idle_timer.poll(cx, polled)
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
    use http_body_util::BodyExt;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::Instant,
    };

    use http::Request;

    use crate::{
        http::handshake::{
            exchange::exchange,
            head_limits::HeadLimits,
            upstream_response::{RefusalBody, UpgradeResponse},
        },
        net::transport::Transport,
    };

    use super::*;

    const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

    /// Returns the body of a 403 of two bytes, of which only `bytes` are sent, and the upstream's
    /// end.
    async fn refusal(bytes: &str) -> (RefusalBody, DuplexStream) {
        refusal_within(IDLE_TIMEOUT, bytes).await
    }

    async fn refusal_within(idle_timeout: Duration, bytes: &str) -> (RefusalBody, DuplexStream) {
        let (near, mut far) = duplex(1024);
        let response = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{bytes}");
        let upstream = async {
            let received = far.read(&mut [0; 1024]).await.unwrap();
            assert!(received > 0);
            far.write_all(response.as_bytes()).await.unwrap();
        };
        let request = Request::new(Empty::new());
        let limits = HeadLimits::default();
        let exchange = exchange(Transport::new(near), request, limits, idle_timeout);
        match tokio::join!(exchange, upstream).0.unwrap() {
            UpgradeResponse::Refused(response) => (response.into_body(), far),
            UpgradeResponse::Accepted { .. } => panic!("a 403 switches nothing"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_stops_times_out() {
        let (mut body, _far) = refusal("n").await;
        let began = Instant::now();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "n");
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("stopped"), "{error}");
        assert!((IDLE_TIMEOUT..IDLE_TIMEOUT * 2).contains(&began.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_does_not_make_the_upstream_late() {
        let (mut body, mut far) = refusal("n").await;
        tokio::time::advance(IDLE_TIMEOUT * 2).await;
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "n");
        tokio::time::advance(IDLE_TIMEOUT * 2).await;
        far.write_all(b"o").await.unwrap();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "o");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_may_have_no_timeout() {
        let (mut body, _far) = refusal_within(Duration::MAX, "n").await;
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "n");
    }

    #[tokio::test]
    async fn a_refusal_with_an_unrequested_coding_is_an_error_rfc9112_7_4() {
        let (near, mut far) = duplex(1024);
        let coded = b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
        let upstream = async {
            assert!(far.read(&mut [0; 1024]).await.unwrap() > 0);
            far.write_all(coded).await.unwrap();
        };
        let request = Request::new(Empty::new());
        let limits = HeadLimits::default();
        let exchange = exchange(Transport::new(near), request, limits, IDLE_TIMEOUT);
        let (response, ()) = tokio::join!(exchange, upstream);
        assert!(response.is_err_and(|error| format!("{error:#}").contains("coding")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_is_dropped_closes_its_connection() {
        let (body, mut far) = refusal("n").await;
        drop(body);
        assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
    }
}

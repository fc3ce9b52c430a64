//! HTTP/2 connection of a client, up to its end.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use wsplice::headers::ClientInfo;

use crate::in_flight::{Idle, InFlight};
use crate::rewound::Rewound;
use crate::shutdown::Shutdown;

/// Interval of pings, and the time for each answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Flow-control window of a stream, in bytes.
const STREAM_WINDOW: u32 = 256 << 10;

/// Flow-control window of a connection, in bytes. The default is that of one stream, so that a
/// WebSocket whose upstream does not read would block all others.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Bytes that are buffered for a stream whose client does not read. The default is 400 KiB, which a client
/// can have for each of 200 streams.
const STREAM_BUFFER: usize = 64 << 10;

/// Serves a connection. It ends when it has been idle for too long, or without a first request that has
/// come within `first_within`; when the gateway drains, once the requests in flight have their responses.
///
/// # Errors
///
/// The connection breaks, or the client does not speak HTTP/2.
pub(crate) async fn serve<S, A>(
    first_within: Duration,
    stream: Rewound<S>,
    client: &ClientInfo,
    service: A,
    mut shutdown: Shutdown,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    A: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Send + 'static,
    A::Future: Send + 'static,
{
    let in_flight = InFlight::new();
    let mut idle = pin!(in_flight.idle(first_within));
    let connection = builder(in_flight).serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let (mut is_idle, mut is_draining) = (false, false);
    loop {
        tokio::select! {
            result = connection.as_mut() => return result,
            idle = &mut idle, if !is_idle => match idle {
                Idle::NoRequest => {
                    tracing::debug!(peer = ?client.peer(), "a client sent no request in time");
                    return Ok(());
                }
                Idle::NoMore => {
                    connection.as_mut().graceful_shutdown();
                    is_idle = true;
                }
            },
            () = shutdown.draining(), if !is_draining => {
                connection.as_mut().graceful_shutdown();
                is_draining = true;
            }
        }
    }
}

fn builder(in_flight: InFlight) -> http2::Builder<InFlight> {
    let mut builder = http2::Builder::new(in_flight);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(STREAM_BUFFER)
        // Lets browsers open WebSockets on the HTTP/2 connection that they have (RFC 8441 §3).
        .enable_connect_protocol();
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    use axum::body::Bytes;
    use http_body_util::Empty;
    use hyper::client::conn::http2::{self, SendRequest};
    use hyper::ext::Protocol;
    use hyper::service::service_fn;
    use hyper::upgrade::Upgraded;
    use hyper::{Method, StatusCode, Version};
    use hyper_util::rt::TokioExecutor;
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;
    use tokio::task::{JoinHandle, JoinSet};
    use tokio::time::{Instant, sleep};

    use crate::in_flight::IDLE_TIMEOUT;
    use crate::shutdown;
    use crate::tests::TestGateway;

    /// Serves a connection in memory, whose WebSockets are handed out by the receiver.
    async fn served() -> (
        SendRequest<Empty<Bytes>>,
        mpsc::UnboundedReceiver<Upgraded>,
        JoinHandle<hyper::Result<()>>,
    ) {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (upgrades, upgraded) = mpsc::unbounded_channel();
        let service = service_fn(move |request: Request<Incoming>| {
            let upgrades = upgrades.clone();
            tokio::spawn(async move {
                let upgraded = hyper::upgrade::on(request).await.unwrap();
                upgrades.send(upgraded).unwrap();
            });
            async { Ok::<_, Infallible>(Response::new(Body::empty())) }
        });
        let (phase, shutdown) = shutdown::channel();
        let serving = tokio::spawn(async move {
            let _phase = phase;
            let (stream, client) = (Rewound::from(far), ClientInfo::new());
            serve(Duration::from_secs(10), stream, &client, service, shutdown).await
        });
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(near));
        let (sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        (sender, upgraded, serving)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_a_quiet_websocket_is_not_idle_until_its_end() {
        let (mut sender, mut upgraded, serving) = served().await;
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri("https://localhost/ws")
            .extension(Protocol::from_static("websocket"))
            .body(Empty::new())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let client = hyper::upgrade::on(response).await.unwrap();
        let socket = upgraded.recv().await.unwrap();
        sleep(IDLE_TIMEOUT * 10).await;
        assert!(sender.is_ready());
        drop((socket, client));
        let began = Instant::now();
        // The client may be gone before the last frame is written.
        let _ = serving.await.unwrap();
        assert_eq!(began.elapsed().as_secs(), IDLE_TIMEOUT.as_secs());
    }

    #[tokio::test]
    async fn clients_may_begin_with_http2_without_tls_rfc9113_3_3() {
        let gateway = TestGateway::start(&[]).await;
        let stream = TcpStream::connect(gateway.http).await.unwrap();
        let io = TokioIo::new(stream);
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        for _ in 0..2 {
            let url = format!("http://{}/", gateway.http);
            let request = Request::get(url).body(Empty::<Bytes>::new()).unwrap();
            let response = sender.send_request(request).await.unwrap();
            let expected = (StatusCode::OK, Version::HTTP_2);
            assert_eq!((response.status(), response.version()), expected);
        }
    }
}

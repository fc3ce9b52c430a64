//! HTTP/2 connection of a client, up to its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::{Service, service_fn};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use wsplice::Registry;
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

/// Settings that all HTTP/2 connections are served with.
#[derive(Clone, Debug)]
pub(crate) struct Http2 {
    builder: http2::Builder<TokioExecutor>,
    /// Open WebSockets.
    registry: Registry,
    /// Bound on the arrival of a connection's first request.
    first_within: Duration,
}

impl Http2 {
    pub(crate) fn new(registry: Registry, first_within: Duration) -> Self {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(STREAM_BUFFER)
            // Lets browsers open WebSockets on the HTTP/2 connection that they have (RFC 8441 §3).
            .enable_connect_protocol();
        Self {
            builder,
            registry,
            first_within,
        }
    }
}

/// Serves a connection. It ends when it has been idle for too long; when the gateway drains, once the
/// requests in flight have their responses.
///
/// # Errors
///
/// The connection breaks, or the client does not speak HTTP/2.
pub(crate) async fn serve<S, A>(
    with: &Http2,
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
    let in_flight = Arc::new(InFlight::new());
    let mut idle = pin!(in_flight.idle(with.first_within, || has_tunnel(&with.registry, client)));
    let service = service_fn(move |request: Request<Incoming>| {
        let place = in_flight.enter(request.method() == Method::CONNECT);
        let responding = service.call(request);
        async move {
            let response = responding.await?;
            Ok::<_, Infallible>(response.map(|body| place.until_end_of(body)))
        }
    });
    let connection = with.builder.serve_connection(TokioIo::new(stream), service);
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

/// Whether a WebSocket is open on this client's connection, which its streams share.
fn has_tunnel(registry: &Registry, client: &ClientInfo) -> bool {
    let tunnels = registry.list();
    tunnels.iter().any(|it| it.info.client == client.peer())
}

#[cfg(test)]
mod tests {
    use super::*;

    use axum::body::Bytes;
    use http_body_util::Empty;
    use hyper::client::conn::http2;
    use hyper::{StatusCode, Version};
    use tokio::net::TcpStream;
    use tokio::task::JoinSet;

    use crate::tests::TestGateway;

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

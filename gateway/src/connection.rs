//! Client connection: HTTP/1.1 or HTTP/2, up to its end or its upgrade.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::timeout;
use tower::ServiceExt;
use wsplice::headers::ClientInfo;

use crate::shutdown::Shutdown;

/// Bound on the arrival of a connection's first request; over HTTP/1.1 also on the head of each
/// later one, idle time before it included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Flow-control window of an HTTP/2 stream, in bytes.
const STREAM_WINDOW: u32 = 256 << 10;

/// Flow-control window of an HTTP/2 connection, in bytes. The default is that of one stream, so that
/// a WebSocket whose upstream does not read would block all others.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Serves a connection by HTTP/1.1 or HTTP/2, as the client's first bytes say. When the gateway
/// drains, requests in flight get their responses and the connection is closed.
///
/// # Cancellation
///
/// Closes the connection, unless it was upgraded: then it belongs to the tunnel.
pub(crate) async fn serve<S>(stream: S, client: ClientInfo, app: Router, mut shutdown: Shutdown)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let first_request = Arc::new(Notify::new());
    let notify = Arc::clone(&first_request);
    let service = service_fn(move |mut request: Request<Incoming>| {
        notify.notify_one();
        request.extensions_mut().insert(client);
        app.clone().oneshot(request)
    });
    let builder = builder();
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut first_request = pin!(timeout(HEAD_TIMEOUT, first_request.notified()));
    let (mut is_awaiting_request, mut is_draining) = (true, false);
    let result = loop {
        tokio::select! {
            result = connection.as_mut() => break result,
            arrived = &mut first_request, if is_awaiting_request => match arrived {
                Ok(()) => is_awaiting_request = false,
                Err(_) => {
                    tracing::debug!(peer = ?client.peer(), "a client sent no request in time");
                    return;
                }
            },
            () = shutdown.draining(), if !is_draining => {
                connection.as_mut().graceful_shutdown();
                is_draining = true;
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(peer = ?client.peer(), error, "a client's connection failed");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        // Lets browsers open WebSockets on the HTTP/2 connection that they have (RFC 8441 §3).
        .enable_connect_protocol();
    builder
}

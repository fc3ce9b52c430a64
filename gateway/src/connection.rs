//! One client's connection, up to its end or to its upgrade.

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

use crate::shutdown::Phases;

/// Time for the first request of a connection to arrive, and over HTTP/1.1 for the head of each
/// later one, idle time before it included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// What a client may send on one HTTP/2 stream before it has passed, in bytes.
const STREAM_WINDOW: u32 = 256 << 10;

/// The same of all streams of a connection. By default it is no larger than that of one stream, and
/// a WebSocket whose upstream stands still would hold up all others.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Serves a connection by HTTP/1.1 or HTTP/2, whichever the client begins. When the gateway stops,
/// requests under way are still answered.
///
/// # Cancellation
///
/// Ends the connection, but not the WebSocket that an HTTP/1.1 connection has become.
pub(crate) async fn serve<S>(stream: S, client: ClientInfo, app: Router, mut phases: Phases)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let asked = Arc::new(Notify::new());
    let heard = Arc::clone(&asked);
    let service = service_fn(move |mut request: Request<Incoming>| {
        heard.notify_one();
        request.extensions_mut().insert(client);
        app.clone().oneshot(request)
    });
    let builder = builder();
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut first = pin!(timeout(HEAD_TIMEOUT, asked.notified()));
    let (mut is_waiting, mut is_told) = (true, false);
    let served = loop {
        tokio::select! {
            served = connection.as_mut() => break served,
            asked = &mut first, if is_waiting => match asked {
                Ok(()) => is_waiting = false,
                Err(_) => {
                    tracing::debug!(peer = ?client.peer(), "a client asked for nothing");
                    return;
                }
            },
            () = phases.stopping(), if !is_told => {
                connection.as_mut().graceful_shutdown();
                is_told = true;
            }
        }
    };
    if let Err(error) = served {
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
        // Browsers then send WebSockets over the HTTP/2 connection that they have (RFC 8441 §3).
        .enable_connect_protocol();
    builder
}

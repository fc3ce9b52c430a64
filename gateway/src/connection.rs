//! Client connection: HTTP/1.1 or HTTP/2, up to its end or its upgrade.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tower::ServiceExt;
use wsplice::Registry;
use wsplice::headers::ClientInfo;

use crate::arrival::Arrival;
use crate::in_flight::{Idle, InFlight};
use crate::shutdown::Shutdown;

/// Interval of pings on HTTP/2 connections, and the time for each answer.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Flow-control window of an HTTP/2 stream, in bytes.
const STREAM_WINDOW: u32 = 256 << 10;

/// Flow-control window of an HTTP/2 connection, in bytes. The default is that of one stream, so that
/// a WebSocket whose upstream does not read would block all others.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Application and settings that all connections are served with.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    pub(crate) app: Router,
    /// Open WebSockets, those on HTTP/2 connections among them.
    pub(crate) registry: Registry,
    /// Bound on the arrival of a connection's first request; over HTTP/1.1 also on the head of each
    /// later one, idle time before it included.
    pub(crate) header_timeout: Duration,
}

/// Serves a connection by HTTP/1.1 or HTTP/2, as the client's first bytes say. When the gateway
/// drains, requests in flight get their responses and the connection is closed.
///
/// # Cancellation
///
/// Closes the connection, unless it was upgraded: then it belongs to the tunnel.
pub(crate) async fn serve<S>(
    stream: S,
    client: ClientInfo,
    arrival: Arrival,
    serving: Serving,
    mut shutdown: Shutdown,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Serving {
        app,
        registry,
        header_timeout,
    } = serving;
    let in_flight = Arc::new(InFlight::new());
    let mut idle = pin!(in_flight.idle(header_timeout, || has_tunnel(&registry, &client)));
    let arrival = Arc::new(arrival);
    let service = service_fn(move |request| {
        let (in_flight, arrival) = (Arc::clone(&in_flight), Arc::clone(&arrival));
        let responding = respond(app.clone(), client, in_flight, request);
        async move {
            let response = responding.await;
            arrival.end();
            response
        }
    });
    let builder = builder(header_timeout);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let (mut is_idle, mut is_draining) = (false, false);
    let result = loop {
        tokio::select! {
            result = connection.as_mut() => break result,
            idle = &mut idle, if !is_idle => match idle {
                Idle::NoRequest => {
                    tracing::debug!(peer = ?client.peer(), "a client sent no request in time");
                    return;
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
    };
    if let Err(error) = result {
        // Quoted, with control characters as escapes: a peer had a part in it.
        let peer = client.peer();
        tracing::debug!(?peer, error = ?error.to_string(), "a client's connection failed");
    }
}

async fn respond(
    app: Router,
    client: ClientInfo,
    in_flight: Arc<InFlight>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let request_in_flight = in_flight.enter(request.method() == Method::CONNECT);
    request.extensions_mut().insert(client);
    let response = app.oneshot(request).await?;
    Ok(response.map(|body| request_in_flight.until_end_of(body)))
}

/// Whether a WebSocket is open on this client's connection, which over HTTP/2 it shares.
fn has_tunnel(registry: &Registry, client: &ClientInfo) -> bool {
    let tunnels = registry.list();
    tunnels.iter().any(|it| it.info.client == client.peer())
}

fn builder(header_timeout: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Some devices compare the names of a 101's fields with the spelling of RFC 6455.
        .title_case_headers(true)
        .header_read_timeout(header_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        // Lets browsers open WebSockets on the HTTP/2 connection that they have (RFC 8441 §3).
        .enable_connect_protocol();
    builder
}

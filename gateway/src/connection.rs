//! Client connection: HTTP/1.1 or HTTP/2, up to its end or its upgrade.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use wsplice::headers::ClientInfo;

use crate::app::App;
use crate::arrival::Arrival;
use crate::http2;
use crate::rewound::Rewound;
use crate::shutdown::{Draining, Shutdown};

/// Bytes of a request's head, and of what is buffered for a client that does not read. The default is 400
/// KiB, and a slow reader has that twice, with what was read of its upstream.
const MAX_BUFFER: usize = 64 << 10;

/// Application and settings that all connections are served with.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    pub(crate) app: App,
    http1: http1::Builder,
    pub(crate) header_timeout: Duration,
    /// Whether the local addresses of connections are wanted, which take a system call each.
    pub(crate) wants_local_addresses: bool,
}

/// Version of HTTP that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/2, as the TLS handshake has negotiated.
    Http2,
    /// HTTP/1.1; or HTTP/2, if the client begins with its preface (RFC 9113 §3.4).
    AsFirstBytes,
}

impl Serving {
    /// Serves this application. `header_timeout` bounds the arrival of a connection's first byte, and from
    /// there that of its first request; over HTTP/1.1 also that of the head of each later one, idle time
    /// before it included.
    pub(crate) fn new(app: App, header_timeout: Duration) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .max_buf_size(MAX_BUFFER)
            // Some devices compare the names of a 101's fields with the spelling of RFC 6455.
            .title_case_headers(true)
            .header_read_timeout(header_timeout);
        Self {
            app,
            http1,
            header_timeout,
            wants_local_addresses: false,
        }
    }
}

/// Serves a connection by HTTP/1.1 or HTTP/2. When the gateway drains, requests in flight get their
/// responses and the connection is closed.
///
/// # Cancellation
///
/// Closes the connection, unless it was upgraded: then it belongs to the tunnel.
pub(crate) async fn serve<S>(
    stream: S,
    protocol: Protocol,
    client: ClientInfo,
    arrival: Arrival,
    serving: &Serving,
    shutdown: &Shutdown,
    draining: Draining<'_>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let app = serving.app.clone();
    let arrival = Arc::new(arrival);
    // Called at once, as a future that begins with the call would carry the request, and move it.
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(client);
        let responding = app.clone().respond(request);
        let arrival = Arc::clone(&arrival);
        async move {
            let response = responding.await;
            arrival.end();
            Ok(response)
        }
    });
    let served = match protocol {
        Protocol::Http2 => {
            let stream = Rewound::from(stream);
            // Boxed, because it is large, and connections of HTTP/1.1 would carry it.
            let shutdown = shutdown.clone();
            let serve = http2::serve(serving.header_timeout, stream, &client, service, shutdown);
            Box::pin(serve).await
        }
        Protocol::AsFirstBytes => {
            serve_by_first_bytes(serving, stream, &client, service, shutdown, draining).await
        }
    };
    if let Err(error) = served {
        // Quoted, with control characters as escapes: a peer had a part in it.
        let peer = client.peer();
        tracing::debug!(?peer, error = ?error.to_string(), "a client's connection failed");
    }
}

/// Serves HTTP/1.1, which nearly all clients of a port without TLS speak, and passes HTTP/2 on to its
/// own server. hyper recognizes the preface of HTTP/2 (RFC 9113 §3.4) when it has read the whole of it
/// before its parser meets the version; else it responds with 400. So the listener has put a preface
/// together that came in pieces, but for one over a Unix socket or TLS without ALPN.
async fn serve_by_first_bytes<S, A>(
    serving: &Serving,
    stream: S,
    client: &ClientInfo,
    service: A,
    shutdown: &Shutdown,
    draining: Draining<'_>,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    A: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Send + 'static,
    A::Future: Send + 'static,
{
    let connection = serving
        .http1
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = connection.with_upgrades();
    let ended = tokio::select! {
        // First, so that a connection that has ended looks for no drain.
        biased;
        result = &mut connection => Some(result),
        () = draining => None,
    };
    let result = match ended {
        Some(result) => result,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    match result {
        Err(error) if error.is_parse_version_h2() => {
            let Some(parts) = connection.into_parts() else {
                return Err(error);
            };
            let stream = Rewound::new(parts.io.into_inner(), parts.read_buf);
            // Boxed, because it is large, and connections of HTTP/1.1 would carry it.
            let shutdown = shutdown.clone();
            let serve = http2::serve(
                serving.header_timeout,
                stream,
                client,
                parts.service,
                shutdown,
            );
            Box::pin(serve).await
        }
        result => result,
    }
}

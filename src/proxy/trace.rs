//! Traces: the spans of requests, and what is recorded in them.
//!
//! Fields are named by OpenTelemetry's conventions where there are some; the table is in the
//! documentation of the crate.

use std::net::IpAddr;

use http::StatusCode;
use tracing::{
    Span,
    field::{Empty, display},
};

use crate::{
    error::Error, escaped::Escaped, http::head::RequestHead, http::headers::protocol_version,
    net::connect::Address, upstream::Upstream,
};

/// Function of the host that makes the spans of handshakes.
pub(super) type MakeSpan = dyn Fn(&RequestHead<'_>) -> Span + Send + Sync;

/// Makes a span with the fields of every request, and further ones. A macro, because `tracing` takes
/// the names of spans and fields as literals.
macro_rules! span {
    ($name:literal, $head:expr, $($further:tt)*) => {
        tracing::info_span!(
            $name,
            "http.request.method" = %Escaped($head.method()),
            "url.path" = %Escaped($head.uri().path()),
            "network.protocol.version" = protocol_version($head.version()),
            "client.address" = Empty,
            "server.address" = Empty,
            "server.port" = Empty,
            "http.response.status_code" = Empty,
            "error.type" = Empty,
            $($further)*
        )
    };
}

/// Makes the default span of a handshake.
pub(super) fn handshake_span(head: &RequestHead<'_>) -> Span {
    span!("websocket_handshake", head, "wsplice.tunnel.id" = Empty)
}

/// Makes the span of a forwarded request.
pub(super) fn request_span(head: &RequestHead<'_>) -> Span {
    span!("http_request", head,)
}

/// Records the client's address, as trusted proxies name it.
pub(super) fn record_client(ip: Option<IpAddr>) {
    if let Some(ip) = ip {
        Span::current().record("client.address", display(ip));
    }
}

/// Records the upstream that is being tried.
pub(super) fn record_attempt(upstream: &Upstream) {
    let span = Span::current();
    match upstream.address() {
        Address::Tcp { host, port } | Address::Tls { host, port, .. } => {
            span.record("server.address", display(Escaped(host)));
            span.record("server.port", *port);
        }
        Address::Unix(path) => {
            span.record("server.address", display(Escaped(path.display())));
        }
    }
}

/// Records the tunnel that the handshake led to.
pub(super) fn record_tunnel(id: u64) {
    Span::current().record("wsplice.tunnel.id", id);
}

/// Records the response that the client gets, and its error if the proxy made it.
pub(super) fn record_response(status: StatusCode, error: Option<&Error>) {
    let span = Span::current();
    span.record("http.response.status_code", status.as_u16());
    if let Some(error) = error {
        span.record("error.type", error.kind().as_str());
    }
}

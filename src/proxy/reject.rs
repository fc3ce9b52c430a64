//! From an error to a response: the only place that names a status code of ours.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, RETRY_AFTER},
};

use crate::{
    error::{Error, ErrorKind},
    http::handshake::set_supported_version,
    http::upgrade::Malformed,
};

/// The response that a failed handshake gets: a status, a line of text, and the error itself in
/// the extensions.
///
/// What a client did wrong is told in full. What went wrong behind the proxy is told by kind
/// alone: addresses and messages of the inside stay inside.
pub(super) fn reject(error: &Error) -> Response<Bytes> {
    let line = match error.kind() {
        ErrorKind::MalformedHandshake | ErrorKind::MalformedRequest => format!("{error}\n"),
        _ => format!("{}\n", Error::new(error.kind())),
    };
    let mut response = Response::new(Bytes::from(line));
    *response.status_mut() = status(error);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    match extra_header(error) {
        Extra::None => {}
        Extra::Allow => drop(headers.insert(ALLOW, HeaderValue::from_static("GET"))),
        // RFC 6455 §4.4
        Extra::Version => set_supported_version(headers),
        Extra::RetryAfter => drop(headers.insert(RETRY_AFTER, retry_after())),
    }
    response.extensions_mut().insert(error.clone());
    response
}

fn status(error: &Error) -> StatusCode {
    match error.kind() {
        ErrorKind::MalformedHandshake => malformed_status(error),
        ErrorKind::OriginNotAllowed => StatusCode::FORBIDDEN,
        ErrorKind::Rewrite | ErrorKind::MalformedRequest | ErrorKind::RequestBody => {
            StatusCode::BAD_REQUEST
        }
        ErrorKind::RequestBodyTimeout => StatusCode::REQUEST_TIMEOUT,
        ErrorKind::NotUpgradable | ErrorKind::ClientUpgrade => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::NoUpstream
        | ErrorKind::Draining
        | ErrorKind::TooManyTunnels
        | ErrorKind::TooManyHandshakes
        | ErrorKind::TooManyHandshakesPerSecond => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::ConnectTimeout
        | ErrorKind::TlsTimeout
        | ErrorKind::HandshakeTimeout
        | ErrorKind::ResponseTimeout
        | ErrorKind::ResponseBodyTimeout
        | ErrorKind::AttemptsTimeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Resolve
        | ErrorKind::Connect
        | ErrorKind::Tls
        | ErrorKind::Http2Unsupported
        | ErrorKind::Handshake
        | ErrorKind::InvalidUpgradeResponse
        | ErrorKind::Response
        | ErrorKind::ResponseBody => StatusCode::BAD_GATEWAY,
    }
}

fn malformed_status(error: &Error) -> StatusCode {
    match malformed(error) {
        Some(Malformed::Method) => StatusCode::METHOD_NOT_ALLOWED,
        Some(Malformed::Version) => StatusCode::UPGRADE_REQUIRED,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn malformed(error: &Error) -> Option<Malformed> {
    std::error::Error::source(error)?.downcast_ref().copied()
}

/// What the status calls for beside it.
enum Extra {
    None,
    Allow,
    Version,
    RetryAfter,
}

fn extra_header(error: &Error) -> Extra {
    match error.kind() {
        ErrorKind::MalformedHandshake => match malformed(error) {
            Some(Malformed::Method) => Extra::Allow,
            Some(Malformed::Version) => Extra::Version,
            _ => Extra::None,
        },
        ErrorKind::NoUpstream
        | ErrorKind::Draining
        | ErrorKind::TooManyTunnels
        | ErrorKind::TooManyHandshakes
        | ErrorKind::TooManyHandshakesPerSecond => Extra::RetryAfter,
        _ => Extra::None,
    }
}

/// Two to five seconds, so that those who were sent away together don't come back together.
fn retry_after() -> HeaderValue {
    HeaderValue::from(fastrand::u16(2..=5))
}

//! Responses for errors: the only place that chooses a status code.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, RETRY_AFTER},
};

use crate::{
    error::{Error, ErrorKind},
    http::relay::set_supported_version,
    http::upgrade::InvalidHandshake,
};

use super::key_limit::KeyLimitReached;

/// Returns the response for an error: a status, a line of text, and the error itself in the
/// extensions.
///
/// A client's fault is described in full. Of a failure behind the proxy only the kind is shown, so
/// that internal addresses and messages stay hidden.
pub(super) fn reject(error: &Error) -> Response<Bytes> {
    let line = match error.kind() {
        ErrorKind::MalformedHandshake | ErrorKind::MalformedRequest => format!("{error:#}\n"),
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
        ExtraHeader::None => {}
        ExtraHeader::Allow(methods) => {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        // RFC 6455 §4.4
        ExtraHeader::Version => set_supported_version(headers),
        ExtraHeader::RetryAfter(after) => drop(headers.insert(RETRY_AFTER, after)),
    }
    response.extensions_mut().insert(error.clone());
    response
}

fn status(error: &Error) -> StatusCode {
    match error.kind() {
        ErrorKind::MalformedHandshake => malformed_status(error),
        // A rejection of the host comes with a response of its own.
        ErrorKind::OriginNotAllowed | ErrorKind::NotAuthorized => StatusCode::FORBIDDEN,
        ErrorKind::Rewrite | ErrorKind::MalformedRequest | ErrorKind::RequestBody => {
            StatusCode::BAD_REQUEST
        }
        ErrorKind::RequestBodyTimeout | ErrorKind::ClientReadTimeout => StatusCode::REQUEST_TIMEOUT,
        ErrorKind::RequestBodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        // RFC 6585 §4
        ErrorKind::TooManyTunnelsForKey | ErrorKind::TooManyHandshakesForKey => {
            StatusCode::TOO_MANY_REQUESTS
        }
        ErrorKind::NotUpgradable | ErrorKind::ClientUpgrade | ErrorKind::Panic => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        // The service behind the host's function failed, and no upstream is slow.
        ErrorKind::AuthorizationTimeout
        | ErrorKind::NoUpstream
        | ErrorKind::Draining
        | ErrorKind::TooManyTunnels
        | ErrorKind::TooManyHandshakes
        | ErrorKind::TooManyHandshakesPerSecond => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::ConnectTimeout
        | ErrorKind::TlsTimeout
        | ErrorKind::HandshakeTimeout
        | ErrorKind::ResponseTimeout
        | ErrorKind::ResponseBodyTimeout
        | ErrorKind::ExchangeTimeout
        | ErrorKind::AttemptsTimeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Resolve
        | ErrorKind::LocalShortage
        | ErrorKind::Connect
        | ErrorKind::Tls
        | ErrorKind::Http2Unsupported
        | ErrorKind::NoResponse
        | ErrorKind::Handshake
        | ErrorKind::InvalidUpgradeResponse
        | ErrorKind::Response
        | ErrorKind::ResponseBody => StatusCode::BAD_GATEWAY,
    }
}

fn malformed_status(error: &Error) -> StatusCode {
    match malformed(error) {
        Some(InvalidHandshake::Method) => StatusCode::METHOD_NOT_ALLOWED,
        Some(InvalidHandshake::Version) => StatusCode::UPGRADE_REQUIRED,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn malformed(error: &Error) -> Option<InvalidHandshake> {
    std::error::Error::source(error)?.downcast_ref().copied()
}

/// Header that accompanies the status.
enum ExtraHeader {
    None,
    Allow(&'static str),
    Version,
    RetryAfter(HeaderValue),
}

fn extra_header(error: &Error) -> ExtraHeader {
    match error.kind() {
        // RFC 9110 §15.5.6
        ErrorKind::MethodNotAllowed => {
            ExtraHeader::Allow("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
        }
        ErrorKind::MalformedHandshake => match malformed(error) {
            Some(InvalidHandshake::Method) => ExtraHeader::Allow("GET"),
            Some(InvalidHandshake::Version) => ExtraHeader::Version,
            _ => ExtraHeader::None,
        },
        ErrorKind::TooManyTunnelsForKey | ErrorKind::TooManyHandshakesForKey => {
            ExtraHeader::RetryAfter(key_retry_after(error))
        }
        ErrorKind::AuthorizationTimeout
        | ErrorKind::NoUpstream
        | ErrorKind::Draining
        | ErrorKind::TooManyTunnels
        | ErrorKind::TooManyHandshakes
        | ErrorKind::TooManyHandshakesPerSecond => ExtraHeader::RetryAfter(retry_after()),
        _ => ExtraHeader::None,
    }
}

/// Returns the time after which the key has another handshake, in whole seconds.
fn key_retry_after(error: &Error) -> HeaderValue {
    let reached: Option<&KeyLimitReached> =
        std::error::Error::source(error).and_then(<dyn std::error::Error>::downcast_ref);
    match reached.and_then(|reached| reached.retry_after) {
        Some(after) => HeaderValue::from(after.as_secs().saturating_add(1)),
        None => retry_after(),
    }
}

/// Returns two to five seconds, at random, so that rejected clients do not return all at once.
fn retry_after() -> HeaderValue {
    HeaderValue::from(fastrand::u16(2..=5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_response_to_a_failure_behind_the_proxy_has_its_cause() {
        for kind in [
            ErrorKind::AuthorizationTimeout,
            ErrorKind::Panic,
            ErrorKind::NotUpgradable,
            ErrorKind::ClientUpgrade,
            ErrorKind::Rewrite,
            ErrorKind::NoUpstream,
            ErrorKind::Resolve,
            ErrorKind::LocalShortage,
            ErrorKind::Connect,
            ErrorKind::ConnectTimeout,
            ErrorKind::Tls,
            ErrorKind::TlsTimeout,
            ErrorKind::Http2Unsupported,
            ErrorKind::HandshakeTimeout,
            ErrorKind::AttemptsTimeout,
            ErrorKind::NoResponse,
            ErrorKind::Handshake,
            ErrorKind::InvalidUpgradeResponse,
            ErrorKind::Response,
            ErrorKind::ResponseTimeout,
            ErrorKind::ResponseBody,
            ErrorKind::ResponseBodyTimeout,
            ErrorKind::ExchangeTimeout,
        ] {
            let response = reject(&Error::with_source(kind, "10.1.2.3:9000 refused"));
            let (head, body) = response.into_parts();
            let text = String::from_utf8_lossy(&body);
            let shown = format!("{:?} {text}", head.headers);
            assert!(!shown.contains("10.1.2.3"), "{kind:?}: {shown}");
        }
    }
}

//! Translation of a request from HTTP/1.1 to HTTP/2.

use bytes::Bytes;
use h2::ext::Protocol;
use http::{
    HeaderMap, HeaderName, Method, Request, Uri, Version,
    header::{CONNECTION, HOST, SEC_WEBSOCKET_KEY, TE, TRANSFER_ENCODING, UPGRADE},
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body_util::Empty;

use crate::{
    error::{BoxError, Error, ErrorKind},
    http::headers::only_line,
};

/// Headers about the connection, which HTTP/2 forbids (RFC 9113 §8.2.2), and the key, which HTTP/2
/// does not use (RFC 8441 §5).
static REMOVED: [HeaderName; 8] = [
    CONNECTION,
    HOST,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    SEC_WEBSOCKET_KEY,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Translates a request to HTTP/2: a handshake becomes an extended `CONNECT` (RFC 8441 §4), and any
/// other request keeps its method.
///
/// # Errors
///
/// Returns [`ErrorKind::MalformedHandshake`] if the requested host is not a valid authority.
pub(super) fn translate(
    request: &Request<Empty<Bytes>>,
    scheme: Scheme,
) -> Result<Request<()>, Error> {
    let headers = request.headers();
    let uri = absolute(request.uri(), headers, scheme)
        .map_err(|error| Error::with_source(ErrorKind::MalformedHandshake, error))?;
    let mut translated = Request::new(());
    *translated.method_mut() = request.method().clone();
    *translated.uri_mut() = uri;
    *translated.version_mut() = Version::HTTP_2;
    *translated.headers_mut() = headers.clone();
    if headers.contains_key(UPGRADE) {
        *translated.method_mut() = Method::CONNECT;
        let protocol = Protocol::from_static("websocket");
        translated.extensions_mut().insert(protocol);
    }
    for name in &REMOVED {
        translated.headers_mut().remove(name);
    }
    Ok(translated)
}

/// Returns whether the request asks for a tunnel.
pub(super) fn is_connect(request: &Request<()>) -> bool {
    request.method() == Method::CONNECT
}

/// Returns the target with all of its parts: the host becomes the `:authority` (RFC 9113 §8.3.1).
fn absolute(target: &Uri, headers: &HeaderMap, scheme: Scheme) -> Result<Uri, BoxError> {
    let host = only_line(headers, &HOST).ok_or("exactly one Host header is needed")?;
    let mut parts = target.clone().into_parts();
    parts.scheme = Some(scheme);
    parts.authority = Some(Authority::try_from(host.as_bytes())?);
    let slash = PathAndQuery::from_static("/");
    parts.path_and_query = parts.path_and_query.or(Some(slash));
    Ok(Uri::from_parts(parts)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(host: &str) -> Request<Empty<Bytes>> {
        Request::get("/chat?room=1")
            .header("host", host)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", "chat")
            .header("keep-alive", "5")
            .header("x-app", "1")
            .body(Empty::new())
            .unwrap()
    }

    #[test]
    fn a_handshake_becomes_an_extended_connect_rfc8441_5() {
        let request = translate(&handshake("app.test:81"), Scheme::HTTPS).unwrap();
        assert!(is_connect(&request));
        assert_eq!(request.uri(), "https://app.test:81/chat?room=1");
        let protocol = request.extensions().get::<Protocol>().unwrap();
        assert_eq!(protocol.as_str(), "websocket");
        let mut names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["sec-websocket-protocol", "sec-websocket-version", "x-app"]
        );
    }

    #[test]
    fn an_ordinary_request_keeps_its_method() {
        let request = Request::get("/health")
            .header("host", "[::1]:81")
            .header("connection", "close")
            .body(Empty::new())
            .unwrap();
        let request = translate(&request, Scheme::HTTP).unwrap();
        assert_eq!(request.method(), Method::GET);
        assert_eq!(request.uri(), "http://[::1]:81/health");
        assert!(request.headers().is_empty());
    }

    #[test]
    fn an_invalid_host_is_an_error_before_the_request_is_sent() {
        for host in ["a b", "", "a/b"] {
            let error = translate(&handshake(host), Scheme::HTTP).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::MalformedHandshake, "{host}");
        }
    }
}

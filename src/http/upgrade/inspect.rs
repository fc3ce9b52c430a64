//! Inspection of a request's head by RFC 6455 §4.2.1.

use http::{
    HeaderMap, Method, Version,
    header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE},
};

use crate::{
    http::head::{RequestHead, is_extended_connect},
    http::headers::{contains_token, only_line},
};

use super::{invalid_handshake::InvalidHandshake, leniency::Leniency, request::UpgradeRequest};

/// Classification of a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Intent {
    /// The request does not concern a WebSocket: an ordinary request, or an upgrade to another
    /// protocol.
    Other,
    /// The request is a valid WebSocket opening handshake.
    Upgrade(UpgradeRequest),
    /// The request is an invalid WebSocket opening handshake.
    Malformed(InvalidHandshake),
}

/// Classifies a request.
///
/// A request asks for a WebSocket if the list in its `Upgrade` header, over all its lines and in
/// any case, contains `websocket`; in HTTP/2, if it is a `CONNECT` with the `:protocol` `websocket`
/// (RFC 8441 §4; feature `http2`). The rest of the head is then checked by RFC 6455 §4.2.1.
///
/// # Examples
///
/// ```
/// use wsplice::{
///     handshake::{Intent, inspect},
///     head::RequestHead,
/// };
///
/// let request = http::Request::get("/chat")
///     .header("host", "example.com")
///     .header("connection", "keep-alive, Upgrade")
///     .header("upgrade", "WebSocket")
///     .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
///     .header("sec-websocket-version", "13")
///     .body(())?;
/// assert!(matches!(inspect(&RequestHead::from(&request)), Intent::Upgrade(_)));
/// # Ok::<(), http::Error>(())
/// ```
#[must_use]
pub fn inspect(head: &RequestHead<'_>) -> Intent {
    inspect_with(head, Leniency::none())
}

/// Classifies a request, with these deviations tolerated.
pub(crate) fn inspect_with(head: &RequestHead<'_>, leniency: Leniency) -> Intent {
    // HTTP/2 and later have no Upgrade header (RFC 9113 §8.2.2).
    let is_http1 = head.version() <= Version::HTTP_11;
    let result = if is_http1 && contains_token(head.headers(), &UPGRADE, "websocket") {
        read_upgrade(head, leniency)
    } else if is_extended_connect(head) {
        read_connect(head)
    } else {
        return Intent::Other;
    };
    match result {
        Ok(request) => Intent::Upgrade(request),
        Err(malformed) => Intent::Malformed(malformed),
    }
}

fn read_upgrade(
    head: &RequestHead<'_>,
    leniency: Leniency,
) -> Result<UpgradeRequest, InvalidHandshake> {
    let headers = head.headers();
    if head.method() != Method::GET {
        return Err(InvalidHandshake::Method);
    }
    if head.version() != Version::HTTP_11 {
        return Err(InvalidHandshake::HttpVersion);
    }
    let is_named = contains_token(headers, &CONNECTION, "upgrade");
    if !is_named && !leniency.allows_missing_connection() {
        return Err(InvalidHandshake::Connection);
    }
    head.check_host().map_err(InvalidHandshake::Host)?;
    if announces_body(headers) {
        return Err(InvalidHandshake::Body);
    }
    check_target_and_version(head)?;
    UpgradeRequest::read(headers)
}

/// Checks the handshake of RFC 8441 §5, which has the headers of HTTP/1.1 except the key. The body
/// of such a request is the tunnel itself.
fn read_connect(head: &RequestHead<'_>) -> Result<UpgradeRequest, InvalidHandshake> {
    head.check_host().map_err(InvalidHandshake::Host)?;
    // RFC 9113 §8.3.1: the scheme is part of every target, and not empty.
    if head.uri().scheme_str().is_none_or(str::is_empty) {
        return Err(InvalidHandshake::Target);
    }
    check_target_and_version(head)?;
    Ok(UpgradeRequest::without_key())
}

fn check_target_and_version(head: &RequestHead<'_>) -> Result<(), InvalidHandshake> {
    if !head.uri().path().starts_with('/') {
        return Err(InvalidHandshake::Target);
    }
    let version = only_line(head.headers(), &SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version != "13") {
        return Err(InvalidHandshake::Version);
    }
    Ok(())
}

/// Returns whether the headers announce a body. A GET may have one, but a WebSocket handshake must
/// not: the bytes after its head are frames, and a body would let a client hide a second request in
/// them.
fn announces_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers
            .get_all(CONTENT_LENGTH)
            .iter()
            .any(|length| length.as_bytes() != b"0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::InvalidHost;
    use http::{Request, request::Builder};

    fn handshake() -> Builder {
        Request::get("/ws")
            .header("host", "example.com")
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-version", "13")
    }

    fn without(name: &str) -> Request<()> {
        let mut request = handshake().body(()).unwrap();
        request.headers_mut().remove(name);
        request
    }

    fn is_valid(request: &Request<()>) -> Result<bool, InvalidHandshake> {
        match inspect(&RequestHead::from(request)) {
            Intent::Other => Ok(false),
            Intent::Upgrade(_) => Ok(true),
            Intent::Malformed(malformed) => Err(malformed),
        }
    }

    #[test]
    fn a_proper_handshake_is_an_upgrade() {
        assert_eq!(is_valid(&handshake().body(()).unwrap()), Ok(true));
    }

    #[test]
    fn lists_count_over_lines_and_in_any_case() {
        let mut request = without("connection");
        request
            .headers_mut()
            .append("connection", "keep-alive, Foo".parse().unwrap());
        request
            .headers_mut()
            .append("connection", " ,uPGRADE".parse().unwrap());
        request
            .headers_mut()
            .insert("upgrade", "foo/2, WebSocket".parse().unwrap());
        assert_eq!(is_valid(&request), Ok(true));
    }

    #[test]
    fn other_upgrades_are_other_requests() {
        for upgrade in ["h2c", "websockets", "not-websocket", "websocket/13", ""] {
            let mut request = without("upgrade");
            request
                .headers_mut()
                .insert("upgrade", upgrade.parse().unwrap());
            assert_eq!(is_valid(&request), Ok(false), "{upgrade}");
        }
        assert_eq!(is_valid(&without("upgrade")), Ok(false));
    }

    #[test]
    fn each_missing_part_has_its_name_rfc6455_4_2_1() {
        assert_eq!(
            is_valid(&without("connection")),
            Err(InvalidHandshake::Connection)
        );
        assert_eq!(
            is_valid(&without("host")),
            Err(InvalidHandshake::Host(InvalidHost::Missing))
        );
        assert_eq!(
            is_valid(&without("sec-websocket-key")),
            Err(InvalidHandshake::KeyCount)
        );
        assert_eq!(
            is_valid(&without("sec-websocket-version")),
            Err(InvalidHandshake::Version)
        );
    }

    #[test]
    fn substrings_of_tokens_do_not_count() {
        let mut request = without("connection");
        request
            .headers_mut()
            .insert("connection", "not-upgrade".parse().unwrap());
        assert_eq!(is_valid(&request), Err(InvalidHandshake::Connection));
    }

    #[test]
    fn a_missing_connection_is_tolerated_where_that_is_asked_for() {
        let mut request = handshake().body(()).unwrap();
        request.headers_mut().remove("connection");
        let head = RequestHead::from(&request);
        let intent = inspect_with(&head, Leniency::none().missing_connection());
        assert!(matches!(intent, Intent::Upgrade(_)));
        let others = Leniency::none().unrequested_subprotocol();
        let intent = inspect_with(&head, others.http10_acceptance());
        assert!(matches!(
            intent,
            Intent::Malformed(InvalidHandshake::Connection)
        ));
    }

    #[test]
    fn each_wrong_part_has_its_name_rfc6455_4_2_1() {
        for (name, value, expected) in [
            ("sec-websocket-key", "short", InvalidHandshake::Key),
            ("sec-websocket-version", "8", InvalidHandshake::Version),
            ("sec-websocket-version", "13, 8", InvalidHandshake::Version),
            ("sec-websocket-version", "013", InvalidHandshake::Version),
            ("content-length", "1", InvalidHandshake::Body),
            ("content-length", "00", InvalidHandshake::Body),
            ("transfer-encoding", "chunked", InvalidHandshake::Body),
        ] {
            let mut request = handshake().body(()).unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
            assert_eq!(is_valid(&request), Err(expected), "{name}: {value}");
        }
    }

    #[test]
    fn an_empty_body_is_no_body() {
        assert_eq!(
            is_valid(&handshake().header("content-length", "0").body(()).unwrap()),
            Ok(true)
        );
    }

    #[test]
    fn doubled_headers_are_rejected() {
        for (name, value, expected) in [
            (
                "sec-websocket-key",
                "dGhlIHNhbXBsZSBub25jZQ==",
                InvalidHandshake::KeyCount,
            ),
            ("sec-websocket-version", "13", InvalidHandshake::Version),
            (
                "host",
                "example.com",
                InvalidHandshake::Host(InvalidHost::Repeated),
            ),
        ] {
            let request = handshake().header(name, value).body(()).unwrap();
            assert_eq!(is_valid(&request), Err(expected), "{name}");
        }
    }

    #[test]
    fn method_version_and_target_are_checked() {
        let request = handshake().method(Method::POST).body(()).unwrap();
        assert_eq!(is_valid(&request), Err(InvalidHandshake::Method));
        let request = handshake().version(Version::HTTP_10).body(()).unwrap();
        assert_eq!(is_valid(&request), Err(InvalidHandshake::HttpVersion));
        let request = handshake().uri("*").body(()).unwrap();
        assert_eq!(is_valid(&request), Err(InvalidHandshake::Target));
        let request = handshake().version(Version::HTTP_2).body(()).unwrap();
        assert_eq!(is_valid(&request), Ok(false));
    }
}

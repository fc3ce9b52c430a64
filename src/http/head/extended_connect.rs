//! WebSockets over HTTP/2: `CONNECT` with a `:protocol` (RFC 8441 §4).

use super::request::RequestHead;

/// Returns whether this is an extended `CONNECT` for `websocket`.
#[cfg(feature = "http2")]
pub(crate) fn is_extended_connect(head: &RequestHead<'_>) -> bool {
    use hyper::ext::Protocol;

    let protocol = head.extensions().get::<Protocol>().map(Protocol::as_str);
    head.version() >= http::Version::HTTP_2
        && head.method() == http::Method::CONNECT
        && protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"))
}

/// Returns `false`: without the feature `http2` such a request is an ordinary one.
#[cfg(not(feature = "http2"))]
pub(crate) const fn is_extended_connect(_: &RequestHead<'_>) -> bool {
    false
}

#[cfg(all(test, feature = "http2"))]
mod tests {
    use http::{Method, Request, Version};
    use hyper::ext::Protocol;

    use super::*;

    fn asks(method: Method, version: Version, protocol: Option<&'static str>) -> bool {
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.version_mut() = version;
        if let Some(protocol) = protocol {
            request
                .extensions_mut()
                .insert(Protocol::from_static(protocol));
        }
        is_extended_connect(&RequestHead::from(&request))
    }

    #[test]
    fn only_a_connect_for_websocket_asks_rfc8441_4() {
        assert!(asks(Method::CONNECT, Version::HTTP_2, Some("websocket")));
        assert!(!asks(Method::CONNECT, Version::HTTP_2, Some("connect-udp")));
        assert!(!asks(Method::CONNECT, Version::HTTP_2, None));
        assert!(!asks(Method::GET, Version::HTTP_2, Some("websocket")));
        assert!(!asks(Method::CONNECT, Version::HTTP_11, Some("websocket")));
    }
}

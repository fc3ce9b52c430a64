//! WebSockets over HTTP/2 and HTTP/3: `CONNECT` with a `:protocol` (RFC 8441 §4, RFC 9220 §3).

use std::borrow::Cow;

use http::{Extensions, Method, Version};

use super::request::RequestHead;

/// Marker of an extended `CONNECT`: the request's `:protocol`, in its extensions (RFC 8441 §4, RFC 9220
/// §3).
///
/// [`http`] has no place for the pseudo-header. hyper's HTTP/2 server inserts a marker of its own, which
/// is understood with the feature `http2`; a server of HTTP/3, or any other, inserts this one, and a
/// [`ClientStream`](crate::accept::ClientStream) with the stream itself.
///
/// The protocol `websocket` makes the request a WebSocket handshake. Requests for other protocols are
/// not proxied: they reach the inner service.
///
/// # Examples
///
/// ```
/// use http::{Method, Request, Version};
/// use wsplice::{
///     handshake::{Intent, inspect},
///     head::{ExtendedConnect, RequestHead},
/// };
///
/// let mut request = Request::connect("https://example.com/chat")
///     .version(Version::HTTP_3)
///     .header("sec-websocket-version", "13")
///     .body(())?;
/// request.extensions_mut().insert(ExtendedConnect::new("websocket"));
/// assert!(matches!(inspect(&RequestHead::from(&request)), Intent::Upgrade(_)));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExtendedConnect {
    protocol: Cow<'static, str>,
}

impl ExtendedConnect {
    /// Creates a marker with this `:protocol`.
    #[must_use]
    pub fn new(protocol: impl Into<Cow<'static, str>>) -> Self {
        Self {
            protocol: protocol.into(),
        }
    }

    /// Returns the `:protocol`.
    #[must_use]
    pub fn protocol(&self) -> &str {
        &self.protocol
    }
}

/// Returns the `:protocol` of an extended `CONNECT`; `None` if the request is no such one.
pub(crate) fn connect_protocol<'a>(head: &RequestHead<'a>) -> Option<&'a str> {
    if head.version() < Version::HTTP_2 || head.method() != Method::CONNECT {
        return None;
    }
    let marker = head.extensions().get::<ExtendedConnect>();
    marker
        .map(ExtendedConnect::protocol)
        .or_else(|| hyper_protocol(head.extensions()))
}

/// Returns whether this is an extended `CONNECT` for `websocket`.
pub(crate) fn is_extended_connect(head: &RequestHead<'_>) -> bool {
    connect_protocol(head).is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"))
}

#[cfg(feature = "http2")]
fn hyper_protocol(extensions: &Extensions) -> Option<&str> {
    use hyper::ext::Protocol;

    extensions.get::<Protocol>().map(Protocol::as_str)
}

/// hyper serves no HTTP/2 without the feature.
#[cfg(not(feature = "http2"))]
const fn hyper_protocol(_extensions: &Extensions) -> Option<&str> {
    None
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn request(method: Method, version: Version) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.version_mut() = version;
        request
    }

    #[test]
    fn only_a_connect_for_websocket_asks_rfc8441_4_rfc9220_3() {
        for (method, version, protocol, asks) in [
            (Method::CONNECT, Version::HTTP_2, Some("websocket"), true),
            (Method::CONNECT, Version::HTTP_3, Some("WebSocket"), true),
            (Method::CONNECT, Version::HTTP_3, Some("connect-udp"), false),
            (Method::CONNECT, Version::HTTP_3, None, false),
            (Method::GET, Version::HTTP_3, Some("websocket"), false),
            (Method::CONNECT, Version::HTTP_11, Some("websocket"), false),
        ] {
            let mut request = request(method.clone(), version);
            if let Some(protocol) = protocol {
                let marker = ExtendedConnect::new(protocol);
                request.extensions_mut().insert(marker);
            }
            let head = RequestHead::from(&request);
            assert_eq!(
                is_extended_connect(&head),
                asks,
                "{method} {version:?} {protocol:?}"
            );
        }
    }

    #[cfg(feature = "http2")]
    #[test]
    fn the_marker_of_hyper_is_understood_too() {
        let mut request = request(Method::CONNECT, Version::HTTP_2);
        let protocol = hyper::ext::Protocol::from_static("connect-udp");
        request.extensions_mut().insert(protocol);
        let protocol = connect_protocol(&RequestHead::from(&request)).map(str::to_owned);
        assert_eq!(protocol.as_deref(), Some("connect-udp"));
    }
}

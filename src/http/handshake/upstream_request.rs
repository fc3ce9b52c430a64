//! The request to the upstream.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Uri, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, EXPECT, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_VERSION, UPGRADE,
    },
    request::Parts,
};
use http_body_util::Empty;

use crate::{
    http::headers::{ClientInfo, set_header},
    http::relay::OutboundRules,
    http::upgrade::UpgradeRequest,
};

/// Builds the upstream's request from the client's.
///
/// The handshake's own headers are written last, so no earlier step can change them.
pub(crate) fn handshake_request(
    client_request: Parts,
    target: Uri,
    upgrade: &UpgradeRequest,
    client: &ClientInfo,
    settings: &OutboundRules,
) -> Request<Empty<Bytes>> {
    let mut headers = settings.upstream_headers(client_request, client);
    set_handshake_headers(&mut headers, upgrade.key().clone());
    upgrade_request(target, headers)
}

/// Sets the headers that make a request a handshake with this key, and removes those that it must not
/// have.
pub(super) fn set_handshake_headers(headers: &mut HeaderMap, key: HeaderValue) {
    for name in [CONTENT_LENGTH, EXPECT, SEC_WEBSOCKET_ACCEPT] {
        headers.remove(name);
    }
    // RFC 6455 §4.1, items 5 to 9.
    for (name, value) in [
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_KEY, key),
        (SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
    ] {
        set_header(headers, &name, value);
    }
}

/// Returns the `GET` with these headers.
pub(super) fn upgrade_request(target: Uri, headers: HeaderMap) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = target;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    request
}

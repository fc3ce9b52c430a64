//! The request to the upstream.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, EXPECT, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_VERSION, UPGRADE,
    },
    request::Parts,
};
use http_body_util::Empty;

use crate::{
    http::headers::{ClientInfo, HeaderSink, NameSet, set_header},
    http::relay::OutboundRules,
    http::upgrade::UpgradeRequest,
};

use super::{
    agreement::Offer,
    encode::{EncodedRequest, HeadWriter},
};

/// Headers that the handshake itself writes, or must not have.
static OWN_HEADERS: NameSet = NameSet::new(&[
    "content-length",
    "expect",
    "sec-websocket-accept",
    "connection",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
]);

/// Lines that are commonly added to those of the client.
const ADDED_LINES: usize = 8;

/// A handshake as it goes to one upstream.
pub(crate) struct UpstreamRequest<'a> {
    pub(crate) client_request: &'a Parts,
    pub(crate) target: &'a Uri,
    pub(crate) upgrade: &'a UpgradeRequest,
    pub(crate) client: &'a ClientInfo,
    pub(crate) rules: &'a OutboundRules,
}

impl UpstreamRequest<'_> {
    /// Builds the request.
    ///
    /// The handshake's own headers are written last, so no earlier step can change them.
    pub(crate) fn build(&self) -> Request<Empty<Bytes>> {
        let (rules, client) = (self.rules, self.client);
        let mut headers = rules.upstream_headers(self.client_request, client, &OWN_HEADERS);
        set_handshake_headers(&mut headers, self.upgrade.key().clone());
        upgrade_request(self.target.clone(), headers)
    }

    /// Encodes the request for HTTP/1.1, without building it if the host changes no headers. Returns
    /// with it what it offers.
    pub(crate) fn encode(&self) -> (EncodedRequest, Offer) {
        let (rules, client_request) = (self.rules, self.client_request);
        if !rules.are_lines_final(client_request) {
            let request = self.build();
            return (
                EncodedRequest::from(&request),
                Offer::new(request.headers(), self.upgrade),
            );
        }
        let lines = client_request.headers.len() + ADDED_LINES;
        let mut head = HeadWriter::new(Method::GET, self.target, lines);
        rules.write_lines(client_request, self.client, &OWN_HEADERS, &mut head);
        for (name, value) in handshake_headers(self.upgrade.key().clone()) {
            head.copy(&name, &value);
        }
        let offer = Offer::new(&client_request.headers, self.upgrade);
        (head.finish(), offer)
    }
}

/// Sets the headers that make a request a handshake with this key, and removes those that it must not
/// have.
pub(super) fn set_handshake_headers(headers: &mut HeaderMap, key: HeaderValue) {
    for name in [CONTENT_LENGTH, EXPECT, SEC_WEBSOCKET_ACCEPT] {
        headers.remove(name);
    }
    for (name, value) in handshake_headers(key) {
        set_header(headers, &name, value);
    }
}

/// Returns the headers that make a request a handshake (RFC 6455 §4.1, items 5 to 9).
fn handshake_headers(key: HeaderValue) -> [(HeaderName, HeaderValue); 4] {
    [
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_KEY, key),
        (SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
    ]
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

#[cfg(test)]
mod tests;

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
    http::headers::{ClientInfo, HeaderSink, set_header},
    http::relay::OutboundRules,
    http::upgrade::UpgradeRequest,
};

use super::{
    agreement::Offer,
    encode::{EncodedRequest, HeadWriter},
};

/// Headers that the handshake itself writes, or must not have.
static OWN_HEADERS: [HeaderName; 7] = [
    CONTENT_LENGTH,
    EXPECT,
    SEC_WEBSOCKET_ACCEPT,
    CONNECTION,
    UPGRADE,
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION,
];

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
        let lines = client_request.headers.len() + OWN_HEADERS.len();
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
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use crate::{
        http::head::RequestHead,
        http::headers::{ForwardedHeaders, Networks, Via, strip_nominated},
        http::upgrade::{Intent, inspect},
    };

    use super::*;

    const NAMES: [&str; 26] = [
        "accept",
        "content-length",
        "content_length",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-authorization",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "sec_websocket_key",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade-insecure-requests",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-server",
        "x-real-ip",
        "x-user",
        "x_forwarded_for",
        "x_user",
    ];

    const VALUES: [&[u8]; 10] = [
        b"",
        b" , ",
        b"a",
        b"a, b",
        b"192.0.2.9",
        b"wss",
        b"for=192.0.2.9;by=\"",
        b"caf\xe9",
        b"a\tb",
        b"permessage-deflate",
    ];

    fn line() -> impl Strategy<Value = (&'static str, &'static [u8])> {
        let name = proptest::sample::select(NAMES.to_vec());
        (name, proptest::sample::select(VALUES.to_vec()))
    }

    fn client_request(version: Version, lines: &[(&str, &[u8])]) -> Parts {
        let mut request = Request::get("/ws?a=b")
            .version(version)
            .header("host", "example.com")
            .header("connection", "upgrade, x-user")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn upgrade() -> UpgradeRequest {
        let head = client_request(Version::HTTP_11, &[]);
        match inspect(&RequestHead::from(&head)) {
            Intent::Upgrade(upgrade) => upgrade,
            other => panic!("{other:?}"),
        }
    }

    fn rules() -> impl Strategy<Value = OutboundRules> {
        (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(more, trust, via)| {
            let forwarded = match more {
                true => ForwardedHeaders::new().with_forwarded().with_x_real_ip(),
                false => ForwardedHeaders::new().without_x_forwarded_proto(),
            };
            let networks = trust.then(|| Networks::parse(["10.0.0.0/8"]).unwrap());
            OutboundRules {
                forwarded: forwarded.trust(networks.unwrap_or(Networks::none())),
                via: via.then(|| Via::new("edge").unwrap()),
                protected: [HeaderName::from_static("x-user")].into(),
                ..OutboundRules::default()
            }
        })
    }

    /// Returns the lines of a head. Those of one name stay in order: the order of names has no meaning
    /// (RFC 9110 §5.3).
    fn sorted_lines(request: &EncodedRequest) -> Vec<&[u8]> {
        let mut lines: Vec<_> = request.head.split(|byte| *byte == b'\n').collect();
        lines.sort_by_key(|line| line.split(|byte| *byte == b':').next());
        lines
    }

    proptest! {
        #[test]
        fn a_request_is_the_same_with_and_without_a_header_map(
            lines in proptest::collection::vec(line(), 0..12),
            is_http2: bool,
            rules in rules(),
            peer in proptest::option::of(proptest::sample::select(vec!["10.0.0.1:9", "[2001:db8::1]:9"])),
        ) {
            let version = if is_http2 { Version::HTTP_2 } else { Version::HTTP_11 };
            let mut client_request = client_request(version, &lines);
            strip_nominated(&mut client_request.headers);
            let peer = peer.map(|peer| peer.parse::<SocketAddr>().unwrap());
            let request = UpstreamRequest {
                client_request: &client_request,
                target: &Uri::from_static("/ws?a=b"),
                upgrade: &upgrade(),
                client: &peer.map_or(ClientInfo::new(), ClientInfo::from),
                rules: &rules,
            };
            prop_assert!(rules.are_lines_final(&client_request));
            let (written, offer) = request.encode();
            let built = request.build();
            let encoded = EncodedRequest::from(&built);
            prop_assert_eq!(sorted_lines(&written), sorted_lines(&encoded));
            prop_assert!(offer == Offer::new(built.headers(), request.upgrade));
        }
    }
}

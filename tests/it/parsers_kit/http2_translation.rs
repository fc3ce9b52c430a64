//! Handshakes and requests that change between HTTP/2 and HTTP/1.1 on their way, in both directions.
//!
//! What an upstream gets in HTTP/1.1 has the strict form, with the host and the target of the
//! pseudo-headers; what it gets in HTTP/2 has no header of a connection, and the pseudo-headers of the
//! client's target. The other headers are the client's. The client gets a response of its own version.

mod kept;
mod to_http1;
mod to_http2;
mod upstream;

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::support::{clock::on_a_paused_clock, dice::Dice};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A request, and the response of an upstream that speaks HTTP/2.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    method: &'static str,
    protocol: &'static str,
    scheme: &'static str,
    authority: String,
    target: String,
    fields: Vec<(&'static str, Vec<u8>)>,
    status: u16,
    response: Vec<(&'static str, Vec<u8>)>,
    payload: Vec<u8>,
}

/// The way of a request between the versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ended {
    Tunnel,
    Response,
    /// The proxy sent no request to the upstream.
    Rejected,
}

const FIELDS: [&str; 24] = [
    "host",
    "connection",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "te",
    "trailer",
    "content-length",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "sec-websocket-accept",
    "sec_websocket_key",
    "cookie",
    "authorization",
    "x-forwarded-for",
    "x_forwarded_for",
    "forwarded",
    "x-a",
    "x-b",
    "http2-settings",
    "expect",
];

const VALUES: [&str; 20] = [
    "",
    "a",
    "b:81",
    "websocket",
    "Upgrade",
    "close, x-a",
    "x-b, te",
    "chunked",
    "trailers",
    "gzip, trailers;q=0",
    "0",
    "5",
    "13",
    "8",
    "chat, superchat",
    "permessage-deflate; client_max_window_bits",
    "a=b; c=d",
    "10.0.0.1",
    "100-continue",
    KEY,
];

impl Case {
    /// Draws a case.
    pub(crate) fn draw(dice: &mut impl Dice) -> Self {
        let mut fields = Vec::new();
        if !dice.is_one_of(8) {
            fields.push(("sec-websocket-version", b"13".to_vec()));
        }
        fields.extend(drawn(dice, 6));
        Self {
            method: dice.pick(["CONNECT", "CONNECT", "CONNECT", "GET", "POST", "OPTIONS"]),
            protocol: dice.pick(["websocket", "websocket", "WebSocket", "connect-udp", ""]),
            scheme: dice.pick(["http", "https", "http", "ws"]),
            authority: dice
                .pick([
                    "a", "a:80", "A.", "b:81", "[::1]:81", "u:p@a", "a,b", "a:99999",
                ])
                .to_owned(),
            target: target(dice),
            fields,
            status: dice.pick([200, 200, 204, 299, 302, 403, 404, 426, 500]),
            response: drawn(dice, 4),
            payload: dice.bytes(16),
        }
    }

    fn uri(&self) -> Option<Uri> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::try_from(self.scheme).ok()?);
        parts.authority = Some(Authority::try_from(&*self.authority).ok()?);
        parts.path_and_query = Some(PathAndQuery::try_from(&*self.target).ok()?);
        Uri::from_parts(parts).ok()
    }
}

fn drawn(dice: &mut impl Dice, most: usize) -> Vec<(&'static str, Vec<u8>)> {
    let count = dice.below(most + 1);
    let draw = |_| {
        let name = FIELDS[dice.below(FIELDS.len())];
        let value = match dice.below(4) {
            0 => (0..dice.below(8)).map(|_| dice.below(256) as u8).collect(),
            _ => VALUES[dice.below(VALUES.len())].into(),
        };
        (name, value)
    };
    (0..count).map(draw).collect()
}

fn target(dice: &mut impl Dice) -> String {
    let mut target = String::from("/");
    for _ in 0..dice.below(4) {
        target += dice.pick([
            "ws",
            "a%2Fb",
            "..",
            "//",
            "?q=1&r",
            ";v",
            "%0d%0a",
            "caf\u{e9}",
        ]);
    }
    target
}

/// Checks the laws in both directions; returns how both ended.
pub(crate) fn check(case: &Case) -> [Ended; 2] {
    fastrand::seed(7);
    let down = on_a_paused_clock(to_http1::run(case));
    let up = on_a_paused_clock(to_http2::run(case));
    [down, up]
}

/// The fields that have valid values.
fn headers(fields: &[(&'static str, Vec<u8>)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    headers
}

//! The rules of RFC 6455 for opening handshakes, for the strict model.

use super::strict::{Framing, Head, is_host, members_of, trim};

/// The meaning of a request for a proxy that takes every path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A valid opening handshake; the bytes behind the head are those of the WebSocket.
    Handshake,
    /// An ordinary request.
    Ordinary,
    /// A request that must not reach an upstream.
    Refused,
}

/// Returns the meaning of a request (RFC 6455 §4.2.1, RFC 9112 §3.2 and §6).
pub(crate) fn meaning(head: &Head) -> Meaning {
    let Some((method, target, minor)) = head.request_line() else {
        return Meaning::Refused;
    };
    let has_one_host = match head.only("host") {
        Some(host) => is_host(host),
        None => minor == 0 && !head.has("host"),
    };
    if !has_one_host || method == "CONNECT" {
        return Meaning::Refused;
    }
    if !head.list("upgrade").contains(&"websocket".to_owned()) {
        // The proxy takes away the chunks, and knows no other coding (RFC 9112 §6.1).
        let codings = head.list("transfer-encoding");
        let is_plain = codings.is_empty() || codings == ["chunked"];
        return match is_plain && head.request_framing() != Framing::Malformed {
            true => Meaning::Ordinary,
            false => Meaning::Refused,
        };
    }
    let is_handshake = method == "GET"
        && minor == 1
        && (target.starts_with(b"/") || is_absolute(target))
        && head.list("connection").contains(&"upgrade".to_owned())
        && head.only("sec-websocket-version") == Some(b"13")
        && head.only("sec-websocket-key").is_some_and(is_key)
        && !head.has("transfer-encoding")
        && head.all("content-length").all(|length| length == b"0");
    match is_handshake {
        true => Meaning::Handshake,
        false => Meaning::Refused,
    }
}

/// Whether the target has a scheme and an authority (RFC 9112 §3.2.2).
pub(crate) fn is_absolute(target: &[u8]) -> bool {
    let scheme = target
        .split(|byte| *byte == b':')
        .next()
        .unwrap_or_default();
    // `http` takes a tilde, too, which RFC 3986 §3.1 does not have.
    let is_scheme = scheme
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"+-.~".contains(byte));
    is_scheme && target[scheme.len()..].starts_with(b"://")
}

/// Sixteen bytes in base64 (RFC 4648 §4).
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_digit)
}

/// An offer of a client, and the accept key that belongs to its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer<'a> {
    pub(crate) accept_key: &'a str,
    pub(crate) subprotocols: &'a [&'a str],
    pub(crate) extensions: &'a [&'a str],
}

impl Offer<'_> {
    /// Whether this 101 accepts the offer (RFC 6455 §4.1, the client's checks).
    pub(crate) fn is_accepted_by(&self, head: &Head) -> bool {
        let subprotocols = head.members("sec-websocket-protocol");
        let is_offered = |name: &Vec<u8>| self.subprotocols.iter().any(|it| it.as_bytes() == name);
        let is_extension = |name: &String| self.extensions.contains(&&**name);
        head.status_line() == Some((101, 1))
            && head.list("upgrade") == ["websocket"]
            && head.list("connection").contains(&"upgrade".to_owned())
            && head.only("sec-websocket-accept") == Some(self.accept_key.as_bytes())
            && subprotocols.len() <= 1
            && subprotocols.iter().all(is_offered)
            && extensions(head).iter().all(is_extension)
    }
}

/// The names of the extensions, in lower case; commas within quotes separate none (RFC 6455 §9.1).
fn extensions(head: &Head) -> Vec<String> {
    let mut names = Vec::new();
    for line in head.all("sec-websocket-extensions") {
        for member in members_of(line, false) {
            let name = member
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default();
            names.push(String::from_utf8_lossy(trim(name)).to_ascii_lowercase());
        }
    }
    names
}

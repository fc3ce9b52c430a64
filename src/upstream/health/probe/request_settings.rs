//! Request settings that all probes share: a path, a host, headers.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header::HOST};
use http_body_util::Empty;

use crate::{http::headers::HeaderEdits, net::connect::Address};

/// Settings of a probe's request.
#[derive(Clone, Debug)]
pub(super) struct RequestSettings {
    target: Uri,
    pub(super) method: Method,
    pub(super) host: Option<HeaderValue>,
    pub(super) edits: HeaderEdits,
}

impl RequestSettings {
    /// Creates a GET for this path.
    pub(super) fn get(path: &str) -> Self {
        Self {
            target: target(path),
            method: Method::GET,
            host: None,
            edits: HeaderEdits::new(),
        }
    }

    /// Returns the request for an upstream at this address. `own` sets headers after all edits.
    pub(super) fn request(
        &self,
        address: &Address,
        own: impl FnOnce(&mut HeaderMap),
    ) -> Request<Empty<Bytes>> {
        let mut headers = HeaderMap::new();
        let host = self.host.clone().unwrap_or_else(|| host_of(address));
        headers.insert(HOST, host);
        self.edits.apply(&mut headers);
        own(&mut headers);
        let mut request = Request::new(Empty::new());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers;
        request
    }
}

/// Returns the path as a request target. A missing leading slash is added, and bytes that are not
/// allowed are escaped, so that every text gives a target.
fn target(path: &str) -> Uri {
    let mut target = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        target.push('/');
    }
    for byte in path.bytes() {
        match byte {
            b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                escape(&mut target, byte);
            }
            b'!'..=b'~' => target.push(char::from(byte)),
            _ => escape(&mut target, byte),
        }
    }
    // The text is a slash and printable characters, so only its length can be invalid.
    target.parse().unwrap_or_default()
}

fn escape(target: &mut String, byte: u8) {
    // Writing to a string cannot fail.
    let _ = write!(target, "%{byte:02X}");
}

/// Returns the `Host` for an address (RFC 9110 §7.2): with a port only if it is not the scheme's
/// default.
fn host_of(address: &Address) -> HeaderValue {
    let text = match (address, address.server_name()) {
        (Address::Tcp { port, .. } | Address::Tls { port, .. }, Some(name)) => {
            let is_own = matches!(
                (address, port),
                (Address::Tcp { .. }, 80) | (Address::Tls { .. }, 443)
            );
            // The dot at the end is meant for resolvers only.
            let name = name.trim_end_matches('.');
            let name = match name.contains(':') {
                true => format!("[{name}]"),
                false => name.to_owned(),
            };
            match is_own {
                true => name,
                false => format!("{name}:{port}"),
            }
        }
        _ => "localhost".to_owned(),
    };
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_text_gives_a_target() {
        for (path, expected) in [
            ("/ws/health", "/ws/health"),
            ("health?deep=1", "/health?deep=1"),
            ("", "/"),
            ("/a b\r\nX: y", "/a%20b%0D%0AX:%20y"),
            ("/caf\u{e9}#x", "/caf%C3%A9%23x"),
            ("/%2F", "/%2F"),
            ("http://elsewhere/", "/http://elsewhere/"),
        ] {
            assert_eq!(target(path), expected, "{path}");
        }
    }

    #[test]
    fn the_host_is_the_address_unless_set() {
        for (address, expected) in [
            (Address::tcp("10.0.0.1", 80), "10.0.0.1"),
            (Address::tcp("::1", 80), "[::1]"),
            (Address::tcp("::1", 81), "[::1]:81"),
            (Address::tls("::1", 443), "[::1]"),
            (Address::tcp("chat-0.chat.", 8080), "chat-0.chat:8080"),
            (
                Address::tls_with_server_name("chat", "10.0.0.1", 443),
                "chat",
            ),
            (
                Address::tls_with_server_name("chat", "10.0.0.1", 80),
                "chat:80",
            ),
            (Address::Unix("/run/x".into()), "localhost"),
        ] {
            assert_eq!(host_of(&address), expected);
        }
        let mut settings = RequestSettings::get("/");
        settings.host = Some(HeaderValue::from_static("chat.example"));
        let request = settings.request(&Address::tcp("a", 1), |_| {});
        assert_eq!(request.headers()[HOST], "chat.example");
    }

    proptest! {
        #[test]
        fn no_text_is_lost_in_the_parser(path in "\\PC{0,40}") {
            let target = target(&path);
            prop_assert!(target.path().starts_with('/'));
            prop_assert!(target.host().is_none());
            let text = target.path_and_query().map(http::uri::PathAndQuery::as_str);
            prop_assert!(path.len() < 2 || text != Some("/") || path.trim_matches('/').is_empty());
        }
    }
}

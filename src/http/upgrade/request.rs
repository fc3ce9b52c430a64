//! A validated opening handshake.

use std::fmt;

use http::{HeaderMap, HeaderValue, header::SEC_WEBSOCKET_KEY};

use crate::http::{head::detached_value, headers::only_line};

use super::invalid_handshake::InvalidHandshake;

/// A valid opening handshake (RFC 6455 §4.2.1), and its key.
///
/// Only [`inspect`](super::inspect) creates this value.
#[derive(Clone)]
pub struct UpgradeRequest {
    key: HeaderValue,
    opening: Opening,
}

/// The form of the client's opening handshake.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// `GET` with `Upgrade` in HTTP/1.1 (RFC 6455 §4.1).
    Upgrade,
    /// `CONNECT` with `:protocol` in HTTP/2 (RFC 8441 §4).
    ExtendedConnect,
}

impl UpgradeRequest {
    /// Creates a request without a client key; an upstream that speaks HTTP/1.1 gets a generated
    /// one.
    pub(super) fn without_key() -> Self {
        Self {
            key: generate_key(),
            opening: Opening::ExtendedConnect,
        }
    }

    /// Returns whether the client used an extended `CONNECT`, whose success response is 200 instead
    /// of 101.
    pub(crate) fn is_extended_connect(&self) -> bool {
        self.opening == Opening::ExtendedConnect
    }

    /// Reads the key; the other headers are checked already.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, InvalidHandshake> {
        let key = only_line(headers, &SEC_WEBSOCKET_KEY).ok_or(InvalidHandshake::KeyCount)?;
        if !is_key(key.as_bytes()) {
            return Err(InvalidHandshake::Key);
        }
        Ok(Self {
            key: key.clone(),
            opening: Opening::Upgrade,
        })
    }

    /// Returns the value of `Sec-WebSocket-Accept` for the client's key (RFC 6455 §4.2.2, item
    /// 5.4).
    #[must_use]
    pub fn accept_key(&self) -> String {
        tungstenite::handshake::derive_accept_key(self.key.as_bytes())
    }

    /// Returns a copy that can be kept after the request is over.
    pub(crate) fn detached(&self) -> Self {
        Self {
            key: detached_value(&self.key),
            opening: self.opening,
        }
    }

    /// Returns the client's key as it was received; in HTTP/2 the generated one.
    pub(crate) const fn key(&self) -> &HeaderValue {
        &self.key
    }
}

impl fmt::Debug for UpgradeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is left out: logs should not help to forge a response.
        f.debug_struct("UpgradeRequest").finish_non_exhaustive()
    }
}

/// Returns a random `Sec-WebSocket-Key` (RFC 6455 §4.1, item 7).
pub(crate) fn generate_key() -> HeaderValue {
    let key = tungstenite::handshake::client::generate_key();
    // Base64 is always a header value.
    HeaderValue::try_from(key).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Returns whether the text is the base64 form of 16 bytes: 22 digits and two pads (RFC 4648 §4).
///
/// The four spare bits of the last digit may be anything, as decoders commonly allow.
fn is_key(text: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    match text.strip_suffix(b"==") {
        Some(digits) => digits.len() == 22 && digits.iter().all(is_digit),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sixteen_bytes_in_base64_rfc6455_4_2_1() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(is_key(b"+/AAAAAAAAAAAAAAAAAAAA=="));
        for wrong in [
            &b""[..],
            b"==",
            b"dGhlIHNhbXBsZSBub25jZQ",
            b"dGhlIHNhbXBsZSBub25jZQ=",
            b"dGhlIHNhbXBsZSBub25jZQ===",
            b"dGhlIHNhbXBsZSBub25jZ===",
            b"dGhlIHNhbXBsZSBub25jZVE=",
            b"dGhlIHNhbXBsZSBub25jZQAA==",
            b"dGhlIHNhbXBsZSBub25j_Q==",
            b"dGhl IHNhbXBsZSBub25jZQ=",
            b"\xffGhlIHNhbXBsZSBub25jZQ==",
        ] {
            assert!(!is_key(wrong), "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn the_accept_key_of_the_sample_nonce_rfc6455_1_3() {
        let mut headers = HeaderMap::new();
        headers.insert(
            SEC_WEBSOCKET_KEY,
            HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
        );
        let request = UpgradeRequest::read(&headers).unwrap();
        assert_eq!(request.accept_key(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}

//! How an opening handshake can be wrong.

use std::{error, fmt};

/// What is wrong with a WebSocket opening handshake.
///
/// The sentence that it displays is the body of the client's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Malformed {
    /// The method is not GET (RFC 6455 §4.1, item 2).
    Method,
    /// The protocol is older than HTTP/1.1 (RFC 6455 §4.1, item 2).
    HttpVersion,
    /// The `Connection` header does not name `upgrade` (RFC 6455 §4.2.1, item 4).
    Connection,
    /// There is no `Host`, or more than one (RFC 6455 §4.2.1, item 2; RFC 9112 §3.2).
    Host,
    /// There is no `Sec-WebSocket-Key`, or more than one (RFC 6455 §11.3.1).
    KeyCount,
    /// The `Sec-WebSocket-Key` is not 16 bytes in base64 (RFC 6455 §4.2.1, item 5).
    Key,
    /// The `Sec-WebSocket-Version` is missing or not 13 (RFC 6455 §4.2.1, item 6).
    Version,
    /// The request announces a body, which would leave in doubt where the frames begin.
    Body,
    /// The request target has no path.
    Target,
}

impl Malformed {
    const fn sentence(self) -> &'static str {
        match self {
            Self::Method => "the method of a WebSocket handshake is GET",
            Self::HttpVersion => "a WebSocket handshake needs HTTP/1.1",
            Self::Connection => "the Connection header does not name \"upgrade\"",
            Self::Host => "exactly one Host header is needed",
            Self::KeyCount => "exactly one Sec-WebSocket-Key header is needed",
            Self::Key => "the Sec-WebSocket-Key is not 16 bytes in base64",
            Self::Version => "the Sec-WebSocket-Version is not 13",
            Self::Body => "a WebSocket handshake has no body",
            Self::Target => "the request target has no path",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl error::Error for Malformed {}

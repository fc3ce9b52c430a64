//! Faults of an opening handshake.

use std::{error, fmt};

use crate::http::head::InvalidHost;

/// Fault of a WebSocket opening handshake.
///
/// The displayed sentence is the body of the response to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidHandshake {
    /// The method is not GET (RFC 6455 §4.1, item 2).
    Method,
    /// The protocol is older than HTTP/1.1 (RFC 6455 §4.1, item 2).
    HttpVersion,
    /// The `Connection` header does not name `upgrade` (RFC 6455 §4.2.1, item 4).
    Connection,
    /// The request does not name one valid host (RFC 6455 §4.2.1, item 2; RFC 9112 §3.2).
    Host(InvalidHost),
    /// The `Sec-WebSocket-Key` header is missing or repeated (RFC 6455 §11.3.1).
    KeyCount,
    /// The `Sec-WebSocket-Key` is not 16 bytes in base64 (RFC 6455 §4.2.1, item 5).
    Key,
    /// The `Sec-WebSocket-Version` is missing or not 13 (RFC 6455 §4.2.1, item 6).
    Version,
    /// The request announces a body, which would make the start of the frames ambiguous.
    Body,
    /// The request target has no path, or in HTTP/2 no scheme (RFC 9113 §8.3.1).
    Target,
}

impl fmt::Display for InvalidHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host(fault) => return fmt::Display::fmt(fault, f),
            Self::Method => "the method of a WebSocket handshake is GET",
            Self::HttpVersion => "a WebSocket handshake needs HTTP/1.1",
            Self::Connection => "the Connection header does not name \"upgrade\"",
            Self::KeyCount => "exactly one Sec-WebSocket-Key header is needed",
            Self::Key => "the Sec-WebSocket-Key is not 16 bytes in base64",
            Self::Version => "the Sec-WebSocket-Version is not 13",
            Self::Body => "a WebSocket handshake has no body",
            Self::Target => "the request target has no path or no scheme",
        })
    }
}

impl error::Error for InvalidHandshake {}

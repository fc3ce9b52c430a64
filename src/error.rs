//! What can go wrong before a tunnel stands, and on whose side.

use std::{error::Error as StdError, fmt, io, sync::Arc};

/// A boxed error of any kind.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Who did it, or to whom it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The party that sent the opening handshake.
    Client,
    /// The server behind the proxy.
    Upstream,
    /// The proxy itself: its settings, its limits, its operator.
    Proxy,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Proxy => "proxy",
        })
    }
}

/// What went wrong before the tunnel stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The client's opening handshake breaks RFC 6455 §4.2.1; the source says where.
    MalformedHandshake,
    /// The request's `Origin` is not one that the settings allow.
    OriginNotAllowed,
    /// The host's server cannot hand over this connection: nothing in the request's extensions
    /// to upgrade with.
    NotUpgradable,
    /// The client's connection was not handed over after the 101.
    ClientUpgrade,
    /// The path that a rewrite made is not a valid request target.
    Rewrite,
    /// No upstream is in the pool, or none may be used now.
    NoUpstream,
    /// The upstream's name has no address.
    Resolve,
    /// The upstream does not accept connections.
    Connect,
    /// The upstream did not accept a connection within the connect timeout.
    ConnectTimeout,
    /// The TLS handshake with the upstream failed; the source says which check.
    Tls,
    /// The TLS handshake with the upstream took longer than the TLS timeout.
    TlsTimeout,
    /// The upstream does not take WebSockets over HTTP/2, which is all that it
    /// [may be asked](crate::connect::HttpVersion) in; the source says how that was found out.
    Http2Unsupported,
    /// The upstream did not answer the handshake within the handshake timeout.
    HandshakeTimeout,
    /// All attempts together, at one upstream or several, took longer than
    /// [`Retry::within`](crate::Retry::within).
    AttemptsTimeout,
    /// The upstream's connection broke, or it spoke something else than HTTP, before an answer.
    Handshake,
    /// The upstream answered 101 but did not agree to what was asked; the source says how.
    InvalidUpgradeResponse,
    /// A request that is to be forwarded can be understood in more than one way; the source says
    /// how.
    MalformedRequest,
    /// The client's body broke off while its request was forwarded.
    RequestBody,
    /// The client was silent in the middle of its request for as long as it may be.
    RequestBodyTimeout,
    /// The upstream's connection broke, or it spoke something else than HTTP, before it answered
    /// a forwarded request.
    Response,
    /// The upstream did not answer a forwarded request within the answer timeout.
    ResponseTimeout,
    /// The upstream's connection broke in the middle of its answer to a forwarded request.
    ResponseBody,
    /// The upstream was silent in the middle of its answer for as long as it may be.
    ResponseBodyTimeout,
    /// The proxy is draining and takes no new tunnels.
    Draining,
    /// A limit on open tunnels is reached, of the pool or of every upstream in it.
    TooManyTunnels,
    /// A limit on handshakes under way is reached.
    TooManyHandshakes,
    /// A limit on handshakes in a second is reached.
    TooManyHandshakesPerSecond,
}

/// Why an opening handshake did not become a tunnel: kind, side and source.
///
/// The response that the client got carries it in its extensions, so that outer layers can log or
/// retry by type instead of by text:
///
/// ```
/// use wsplice::Error;
///
/// fn log<B>(response: &http::Response<B>) {
///     if let Some(error) = response.extensions().get::<Error>() {
///         println!("{:?} on the {} side: {error}", error.kind(), error.side());
///     }
/// }
/// # log(&http::Response::new(()));
/// ```
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) const fn new(kind: ErrorKind) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn with_source(kind: ErrorKind, source: impl Into<BoxError>) -> Self {
        Self {
            kind,
            source: Some(Arc::from(source.into())),
        }
    }

    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// On whose side it went wrong.
    #[must_use]
    pub const fn side(&self) -> Side {
        match self.kind {
            ErrorKind::MalformedHandshake
            | ErrorKind::MalformedRequest
            | ErrorKind::RequestBody
            | ErrorKind::RequestBodyTimeout
            | ErrorKind::OriginNotAllowed
            | ErrorKind::Rewrite
            | ErrorKind::ClientUpgrade => Side::Client,
            ErrorKind::NotUpgradable
            | ErrorKind::NoUpstream
            | ErrorKind::Draining
            | ErrorKind::TooManyTunnels
            | ErrorKind::TooManyHandshakes
            | ErrorKind::TooManyHandshakesPerSecond => Side::Proxy,
            ErrorKind::Resolve
            | ErrorKind::Connect
            | ErrorKind::ConnectTimeout
            | ErrorKind::Tls
            | ErrorKind::TlsTimeout
            | ErrorKind::Http2Unsupported
            | ErrorKind::HandshakeTimeout
            | ErrorKind::AttemptsTimeout
            | ErrorKind::Handshake
            | ErrorKind::InvalidUpgradeResponse
            | ErrorKind::Response
            | ErrorKind::ResponseTimeout
            | ErrorKind::ResponseBody
            | ErrorKind::ResponseBodyTimeout => Side::Upstream,
        }
    }
}

impl Error {
    /// Whether the process, or the machine, has no file descriptor left: whatever was being
    /// opened is not to blame.
    pub(crate) fn is_lack_of_descriptors(&self) -> bool {
        let first: Option<&(dyn StdError + 'static)> = self.source();
        std::iter::successors(first, |error| (**error).source())
            .filter_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error())
            .any(|code| cfg!(unix) && matches!(code, ENFILE | EMFILE))
    }
}

/// errno(3), the same on all Unix systems.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

impl ErrorKind {
    const fn sentence(self) -> &'static str {
        match self {
            Self::MalformedHandshake => "malformed WebSocket handshake",
            Self::OriginNotAllowed => "origin not allowed",
            Self::NotUpgradable => "the connection cannot be upgraded",
            Self::ClientUpgrade => "the client's connection was not handed over",
            Self::Rewrite => "the rewritten path is not valid",
            Self::NoUpstream => "no upstream is available",
            Self::Resolve => "the upstream's name could not be resolved",
            Self::Connect => "the upstream could not be connected",
            Self::ConnectTimeout => "connecting to the upstream timed out",
            Self::Tls => "the TLS handshake with the upstream failed",
            Self::TlsTimeout => "the TLS handshake with the upstream timed out",
            Self::Http2Unsupported => "the upstream takes no WebSockets over HTTP/2",
            Self::HandshakeTimeout => "the upstream's handshake answer timed out",
            Self::AttemptsTimeout => "all attempts together took too long",
            Self::Handshake => "the upstream broke the handshake",
            Self::InvalidUpgradeResponse => "the upstream's 101 answer is not valid",
            Self::MalformedRequest => "malformed request",
            Self::RequestBody => "the client's body broke off",
            Self::RequestBodyTimeout => "the client's body stopped",
            Self::Response => "the upstream gave no answer",
            Self::ResponseTimeout => "the upstream's answer timed out",
            Self::ResponseBody => "the upstream's answer broke off",
            Self::ResponseBodyTimeout => "the upstream's answer stopped",
            Self::Draining => "draining, no new tunnels",
            Self::TooManyTunnels => "too many tunnels",
            Self::TooManyHandshakes => "too many handshakes at once",
            Self::TooManyHandshakesPerSecond => "too many handshakes in a second",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.kind.sentence().to_owned();
        let mut cause = self.source();
        // To the bottom: hyper says no more than "connection error", and what lies below says why.
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.contains(&text) {
                said.push_str(": ");
                said.push_str(&text);
            }
            cause = error.source();
        }
        f.write_str(&said)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Says what it says, and not why.
    #[derive(Debug)]
    struct Because(&'static str, io::Error);

    impl fmt::Display for Because {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Because {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.1)
        }
    }

    #[test]
    fn every_cause_is_told_once() {
        let silent = Because("connection error", io::Error::other("no certificate"));
        let error = Error::with_source(ErrorKind::Handshake, silent);
        assert_eq!(
            error.to_string(),
            "the upstream broke the handshake: connection error: no certificate"
        );
        let talkative = Because("it ended (too early)", io::Error::other("too early"));
        let error = Error::with_source(ErrorKind::Handshake, talkative);
        assert_eq!(
            error.to_string(),
            "the upstream broke the handshake: it ended (too early)"
        );
    }
}

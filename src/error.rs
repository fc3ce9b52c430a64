//! Failures of handshakes and of forwarded requests, and the side of each.

use std::{error::Error as StdError, fmt, sync::Arc};

/// A boxed error of any kind.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// The party that a failure or an action belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The party that sent the opening handshake.
    Client,
    /// The server behind the proxy.
    Upstream,
    /// The proxy itself: its settings, its limits, its operator.
    Proxy,
}

impl Side {
    /// The side as a [slug](crate#slugs): `client`, `upstream` or `proxy`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Proxy => "proxy",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kind of a failure of a handshake or of a forwarded request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The client's opening handshake breaks RFC 6455 §4.2.1; the source names the rule.
    MalformedHandshake,
    /// The request's `Origin` is not one that the settings allow.
    OriginNotAllowed,
    /// The host's function rejected the request
    /// ([`ProxyLayer::authorize`](crate::ProxyLayer::authorize)).
    NotAuthorized,
    /// The host's function did not decide on the request within the authorization timeout
    /// ([`ProxyLayer::authorization_timeout`](crate::ProxyLayer::authorization_timeout)).
    AuthorizationTimeout,
    /// A function of the host panicked in the handling of the request; the source is the panic's
    /// message.
    Panic,
    /// The host's server cannot hand over this connection: the request's extensions hold nothing to
    /// upgrade with.
    NotUpgradable,
    /// The client's connection was not handed over after the 101.
    ClientUpgrade,
    /// The path that a rewrite made is not a valid request target.
    Rewrite,
    /// The pool is empty, or none of its upstreams may be used now.
    NoUpstream,
    /// The upstream's name could not be resolved: it has no address, or the resolver failed. No
    /// upstream is blamed for it.
    Resolve,
    /// The proxy's own machine could not open a connection: it has no free port, file descriptor or
    /// memory, no route, or no permission. No upstream is blamed for it.
    LocalShortage,
    /// The upstream does not accept connections.
    Connect,
    /// The upstream did not accept a connection within the connect timeout.
    ConnectTimeout,
    /// The TLS handshake with the upstream failed; the source names the check.
    Tls,
    /// The TLS handshake with the upstream took longer than the TLS timeout.
    TlsTimeout,
    /// The upstream does not take WebSockets over HTTP/2, the only version that it
    /// [may be asked](crate::connect::HttpVersion) in; the source names the evidence.
    Http2Unsupported,
    /// The upstream did not respond to the handshake within the handshake timeout.
    HandshakeTimeout,
    /// All attempts together, at one upstream or several, took longer than
    /// [`Retry::within`](crate::Retry::within).
    AttemptsTimeout,
    /// The upstream closed or reset the connection, or the stream of a shared one, before the first
    /// byte of a response to a handshake or a forwarded request. Whether it has processed the
    /// request is unknown.
    NoResponse,
    /// The upstream's response to the handshake cannot be used: it broke off in its head, or is not
    /// HTTP.
    Handshake,
    /// The upstream responded with a 101 that breaks RFC 6455 §4.1; the source names the rule.
    InvalidUpgradeResponse,
    /// A request to be forwarded can be understood in more than one way; the source names the
    /// ambiguity.
    MalformedRequest,
    /// The client's body broke off while its request was forwarded, perhaps after the response had
    /// begun.
    RequestBody,
    /// The client's body is larger than a limit that the host has set around the proxy: reading it
    /// failed with a `http_body_util::LengthLimitError`.
    RequestBodyTooLarge,
    /// The client sent nothing in the middle of its request for as long as it may.
    RequestBodyTimeout,
    /// The method of a request that should be forwarded is `TRACE`, which
    /// [`ForwardHttp::allow_trace`](crate::ForwardHttp::allow_trace) does not allow.
    MethodNotAllowed,
    /// The upstream's response to a forwarded request cannot be used: it broke off in its head, or is
    /// not HTTP.
    Response,
    /// The upstream did not respond to a forwarded request within the response timeout.
    ResponseTimeout,
    /// The upstream's connection broke in the middle of its response to a forwarded request.
    ResponseBody,
    /// The upstream sent nothing in the middle of its response for as long as it may.
    ResponseBodyTimeout,
    /// The client took nothing of a response for as long as it may
    /// ([`ProxyLayer::response_write_timeout`](crate::ProxyLayer::response_write_timeout)), or took it
    /// more slowly than [`ForwardHttp::minimum_rate`](crate::ForwardHttp::minimum_rate).
    ClientReadTimeout,
    /// A forwarded exchange took longer than
    /// [`ForwardHttp::exchange_timeout`](crate::ForwardHttp::exchange_timeout) in all.
    ExchangeTimeout,
    /// The proxy is draining and takes no new tunnels and requests.
    Draining,
    /// A limit on open tunnels is reached, of the pool or of every upstream in it.
    TooManyTunnels,
    /// A limit on handshakes in progress is reached.
    TooManyHandshakes,
    /// A limit on handshakes per second is reached.
    TooManyHandshakesPerSecond,
    /// The limit on open tunnels of one key is reached ([`KeyLimit`](crate::KeyLimit)).
    TooManyTunnelsForKey,
    /// The limit on handshakes per second of one key is reached ([`KeyLimit`](crate::KeyLimit)).
    TooManyHandshakesForKey,
}

/// Failure of an opening handshake or of a forwarded request: kind, side and source.
///
/// `Display` prints the sentence of the kind, and the cause is the [source](StdError::source), so
/// reporters that follow the sources print each cause once. `{error:#}` prints the whole chain in
/// one line.
///
/// The rejection that the client got carries the error in its extensions, so that outer layers can
/// log or retry by type instead of by text:
///
/// ```
/// use wsplice::Error;
///
/// fn log<B>(response: &http::Response<B>) {
///     if let Some(error) = response.extensions().get::<Error>() {
///         println!("{:?} on the {} side: {error:#}", error.kind(), error.side());
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

    /// The kind of the failure.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The side on which the failure happened.
    #[must_use]
    pub const fn side(&self) -> Side {
        match self.kind {
            ErrorKind::MalformedHandshake
            | ErrorKind::MalformedRequest
            | ErrorKind::RequestBody
            | ErrorKind::RequestBodyTooLarge
            | ErrorKind::RequestBodyTimeout
            | ErrorKind::ClientReadTimeout
            | ErrorKind::MethodNotAllowed
            | ErrorKind::OriginNotAllowed
            | ErrorKind::NotAuthorized
            | ErrorKind::TooManyTunnelsForKey
            | ErrorKind::TooManyHandshakesForKey
            | ErrorKind::Rewrite
            | ErrorKind::ClientUpgrade => Side::Client,
            ErrorKind::NotUpgradable
            | ErrorKind::AuthorizationTimeout
            | ErrorKind::Panic
            | ErrorKind::NoUpstream
            | ErrorKind::Resolve
            | ErrorKind::LocalShortage
            | ErrorKind::ExchangeTimeout
            | ErrorKind::Draining
            | ErrorKind::TooManyTunnels
            | ErrorKind::TooManyHandshakes
            | ErrorKind::TooManyHandshakesPerSecond => Side::Proxy,
            ErrorKind::Connect
            | ErrorKind::ConnectTimeout
            | ErrorKind::Tls
            | ErrorKind::TlsTimeout
            | ErrorKind::Http2Unsupported
            | ErrorKind::HandshakeTimeout
            | ErrorKind::AttemptsTimeout
            | ErrorKind::NoResponse
            | ErrorKind::Handshake
            | ErrorKind::InvalidUpgradeResponse
            | ErrorKind::Response
            | ErrorKind::ResponseTimeout
            | ErrorKind::ResponseBody
            | ErrorKind::ResponseBodyTimeout => Side::Upstream,
        }
    }
}

impl ErrorKind {
    /// The kind as a [slug](crate#slugs), such as `connect_timeout`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MalformedHandshake => "malformed_handshake",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::NotAuthorized => "not_authorized",
            Self::AuthorizationTimeout => "authorization_timeout",
            Self::Panic => "panic",
            Self::NotUpgradable => "not_upgradable",
            Self::ClientUpgrade => "client_upgrade",
            Self::Rewrite => "rewrite",
            Self::NoUpstream => "no_upstream",
            Self::Resolve => "resolve",
            Self::LocalShortage => "local_shortage",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::TlsTimeout => "tls_timeout",
            Self::Http2Unsupported => "http2_unsupported",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::AttemptsTimeout => "attempts_timeout",
            Self::NoResponse => "no_response",
            Self::Handshake => "handshake",
            Self::InvalidUpgradeResponse => "invalid_upgrade_response",
            Self::MalformedRequest => "malformed_request",
            Self::RequestBody => "request_body",
            Self::RequestBodyTooLarge => "request_body_too_large",
            Self::RequestBodyTimeout => "request_body_timeout",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Response => "response",
            Self::ResponseTimeout => "response_timeout",
            Self::ResponseBody => "response_body",
            Self::ResponseBodyTimeout => "response_body_timeout",
            Self::ClientReadTimeout => "client_read_timeout",
            Self::ExchangeTimeout => "exchange_timeout",
            Self::Draining => "draining",
            Self::TooManyTunnels => "too_many_tunnels",
            Self::TooManyHandshakes => "too_many_handshakes",
            Self::TooManyHandshakesPerSecond => "too_many_handshakes_per_second",
            Self::TooManyTunnelsForKey => "too_many_tunnels_for_key",
            Self::TooManyHandshakesForKey => "too_many_handshakes_for_key",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::MalformedHandshake => "malformed WebSocket handshake",
            Self::OriginNotAllowed => "origin not allowed",
            Self::NotAuthorized => "not authorized",
            Self::AuthorizationTimeout => "the authorization took too long",
            Self::Panic => "the handling of the request panicked",
            Self::NotUpgradable => "the connection cannot be upgraded",
            Self::ClientUpgrade => "the client's connection was not handed over",
            Self::Rewrite => "the rewritten path is not valid",
            Self::NoUpstream => "no upstream is available",
            Self::Resolve => "the upstream's name could not be resolved",
            Self::LocalShortage => "the proxy could not open a connection",
            Self::Connect => "the upstream could not be connected",
            Self::ConnectTimeout => "connecting to the upstream timed out",
            Self::Tls => "the TLS handshake with the upstream failed",
            Self::TlsTimeout => "the TLS handshake with the upstream timed out",
            Self::Http2Unsupported => "the upstream does not support WebSockets over HTTP/2",
            Self::HandshakeTimeout => "the upstream's handshake response timed out",
            Self::AttemptsTimeout => "all attempts together took too long",
            Self::NoResponse => "the upstream closed the connection without a response",
            Self::Handshake => "the upstream's handshake response cannot be used",
            Self::InvalidUpgradeResponse => "the upstream's 101 response is not valid",
            Self::MalformedRequest => "malformed request",
            Self::RequestBody => "the client's body broke off",
            Self::RequestBodyTooLarge => "the client's body is too large",
            Self::RequestBodyTimeout => "the client's body stopped",
            Self::MethodNotAllowed => "the method is not forwarded",
            Self::Response => "the upstream's response cannot be used",
            Self::ResponseTimeout => "the upstream's response timed out",
            Self::ResponseBody => "the upstream's response broke off",
            Self::ResponseBodyTimeout => "the upstream's response stopped",
            Self::ClientReadTimeout => "the client stopped reading the response",
            Self::ExchangeTimeout => "the exchange took too long",
            Self::Draining => "draining, no new tunnels",
            Self::TooManyTunnels => "too many tunnels",
            Self::TooManyHandshakes => "too many handshakes at once",
            Self::TooManyHandshakesPerSecond => "too many handshakes per second",
            Self::TooManyTunnelsForKey => "too many tunnels of this client",
            Self::TooManyHandshakesForKey => "too many handshakes of this client per second",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display_error(self, f, |f| f.write_str(self.kind.sentence()))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Prints an error's own sentence or, in the alternate form, the chain of its causes.
///
/// Every public error type that has a source is printed by this.
pub(crate) fn display_error(
    error: &(dyn StdError + 'static),
    f: &mut fmt::Formatter<'_>,
    sentence: impl FnOnce(&mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    match f.alternate() {
        true => write!(f, "{}", Chain(error)),
        false => sentence(f),
    }
}

/// An error and all of its causes, in one line.
///
/// A cause is left out where the text so far contains it: some errors of other crates print
/// their source themselves.
struct Chain<'a>(&'a (dyn StdError + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.0.to_string();
        let mut next = self.0.source();
        while let Some(error) = next {
            next = error.source();
            let cause = error.to_string();
            if !line.contains(&cause) {
                line.push_str(": ");
                line.push_str(&cause);
            }
        }
        f.write_str(&line)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// An error that prints its own sentence alone.
    #[derive(Debug)]
    struct Outer(&'static str, io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Outer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.1)
        }
    }

    #[test]
    fn the_chain_has_every_cause_once() {
        let silent = Outer("connection error", io::Error::other("no certificate"));
        let error = Error::with_source(ErrorKind::Handshake, silent);
        assert_eq!(
            error.to_string(),
            "the upstream's handshake response cannot be used"
        );
        assert_eq!(
            format!("{error:#}"),
            "the upstream's handshake response cannot be used: connection error: no certificate"
        );
        let talkative = Outer("it ended (too early)", io::Error::other("too early"));
        let error = Error::with_source(ErrorKind::Handshake, talkative);
        assert_eq!(
            format!("{error:#}"),
            "the upstream's handshake response cannot be used: it ended (too early)"
        );
    }
}

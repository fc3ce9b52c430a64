//! What of one request may be tried again.

use std::time::Duration;

use http::StatusCode;

use crate::error::ErrorKind;

use super::budget::Cost;

/// When a request goes on to another upstream, how often, and for how long.
///
/// A connection that is not made, TLS included, is always tried again elsewhere: nothing has been
/// sent, so nothing can happen twice. What happens after that is tried again only if asked for.
/// An opening handshake is a `GET` without a body, which is safe to repeat by its definition (RFC
/// 9110 §9.2.2); whether your application keeps to that is yours to know. Of
/// [forwarded](crate::ForwardHttp) requests none is repeated that has a body, or a method that is
/// not idempotent. No upstream is tried twice for one request.
///
/// Retries of all requests together are held down by the pool's
/// [`RetryBudget`](crate::RetryBudget).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::{Pool, ProxyLayer, Retry};
///
/// let pool = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?;
/// let proxy = ProxyLayer::new(pool).retry(
///     Retry::new()
///         .attempts(3)
///         .within(Duration::from_secs(8))
///         .on_status([502, 503, 504])
///         .on_handshake_failure(),
/// );
/// # let _ = proxy;
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Retry {
    attempts: usize,
    within: Duration,
    statuses: Vec<u16>,
    after_handshake: AfterHandshake,
}

/// What follows a handshake that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterHandshake {
    Stop,
    GoOn,
}

impl Retry {
    /// Up to 5 attempts within 30 s, after failures to connect alone.
    pub const fn new() -> Self {
        Self {
            attempts: 5,
            within: Duration::from_secs(30),
            statuses: Vec::new(),
            after_handshake: AfterHandshake::Stop,
        }
    }

    /// How many upstreams are tried at most, the first included; at least 1, which means that
    /// nothing is tried again.
    pub const fn attempts(mut self, attempts: usize) -> Self {
        self.attempts = if attempts == 0 { 1 } else { attempts };
        self
    }

    /// How long all attempts together may take, from the first pick to the answer's head; connects,
    /// TLS and the queue before a retry are part of it. What is under way then is cut off
    /// ([`ErrorKind::AttemptsTimeout`]), the first attempt too, whatever its own timeouts. The
    /// answer to a [forwarded](crate::ForwardHttp) request alone has its own time: a long poll takes
    /// long.
    pub const fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Goes on after an upstream's answer of these statuses, such as 502, 503 and 504. The answer
    /// that the client gets is that of the last upstream tried; the others are dropped, and their
    /// connections closed.
    pub fn on_status(mut self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.statuses = statuses.into_iter().collect();
        self
    }

    /// Goes on after a handshake that an upstream broke, did not answer in time, or answered with
    /// a 101 that is not valid; and so with [forwarded](crate::ForwardHttp) requests.
    pub const fn on_handshake_failure(mut self) -> Self {
        self.after_handshake = AfterHandshake::GoOn;
        self
    }

    pub(crate) const fn max_attempts(&self) -> usize {
        self.attempts
    }

    pub(crate) const fn time(&self) -> Duration {
        self.within
    }

    /// What a retry after this answer costs, if there may be one.
    pub(crate) fn after_status(&self, status: StatusCode) -> Option<Cost> {
        let is_covered = self.statuses.contains(&status.as_u16());
        is_covered.then_some(Cost::Request)
    }

    /// What a retry after this failure costs, if there may be one.
    pub(crate) fn after_failure(&self, kind: ErrorKind) -> Option<Cost> {
        match kind {
            // Not a byte of the request was sent.
            ErrorKind::Resolve
            | ErrorKind::Connect
            | ErrorKind::ConnectTimeout
            | ErrorKind::Tls
            | ErrorKind::TlsTimeout
            | ErrorKind::Http2Unsupported => Some(Cost::Connect),
            ErrorKind::HandshakeTimeout
            | ErrorKind::Handshake
            | ErrorKind::InvalidUpgradeResponse
            | ErrorKind::Response
            | ErrorKind::ResponseTimeout => match self.after_handshake {
                AfterHandshake::GoOn => Some(Cost::Request),
                AfterHandshake::Stop => None,
            },
            _ => None,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECT: [ErrorKind; 6] = [
        ErrorKind::Resolve,
        ErrorKind::Connect,
        ErrorKind::ConnectTimeout,
        ErrorKind::Tls,
        ErrorKind::TlsTimeout,
        ErrorKind::Http2Unsupported,
    ];
    const SENT: [ErrorKind; 5] = [
        ErrorKind::Response,
        ErrorKind::ResponseTimeout,
        ErrorKind::HandshakeTimeout,
        ErrorKind::Handshake,
        ErrorKind::InvalidUpgradeResponse,
    ];

    #[test]
    fn what_was_not_sent_may_always_go_elsewhere() {
        let retry = Retry::new();
        for kind in CONNECT {
            assert_eq!(retry.after_failure(kind), Some(Cost::Connect));
        }
        for kind in SENT {
            assert_eq!(retry.after_failure(kind), None);
        }
        assert_eq!(retry.after_status(StatusCode::BAD_GATEWAY), None);
    }

    #[test]
    fn what_was_sent_goes_elsewhere_if_asked_for() {
        let retry = Retry::new().on_handshake_failure().on_status([502, 503]);
        for kind in SENT {
            assert_eq!(retry.after_failure(kind), Some(Cost::Request));
        }
        let after = retry.after_status(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(after, Some(Cost::Request));
        assert_eq!(retry.after_status(StatusCode::GATEWAY_TIMEOUT), None);
        for kind in [ErrorKind::Draining, ErrorKind::NoUpstream] {
            assert_eq!(retry.after_failure(kind), None, "it is the proxy's own");
        }
    }

    #[test]
    fn there_is_always_one_attempt() {
        assert_eq!(Retry::new().attempts(0).max_attempts(), 1);
    }
}

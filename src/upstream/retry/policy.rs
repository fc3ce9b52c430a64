//! Retry policy of one request.

use std::time::Duration;

use http::StatusCode;

use crate::error::ErrorKind;

use super::budget::Cost;

/// Retry policy: the failures after which a request goes on to another upstream, the number of
/// attempts and their total time.
///
/// A failure to connect, TLS included, is always retried: no byte of the request was sent, so
/// nothing can happen twice. Later failures are retried only if asked for. An opening handshake is
/// a `GET` without a body, which is safe to repeat by definition (RFC 9110 §9.2.2); whether your
/// application keeps to that is yours to know. A [forwarded](crate::ForwardHttp) request that has a
/// body, or a method that is not idempotent, is never repeated. A request tries no upstream twice.
///
/// The pool's [`RetryBudget`](crate::RetryBudget) limits the retries of all requests together.
///
/// # Defaults
///
/// | method | default | unit | why |
/// |---|---|---|---|
/// | [`attempts`](Self::attempts) | 5 | upstreams | several may be down before probes find out |
/// | [`within`](Self::within) | 30 | seconds | clients give up about then |
/// | [`on_status`](Self::on_status) | none | HTTP statuses | the upstream has received the request |
/// | [`on_handshake_failure`](Self::on_handshake_failure) | off | | as above |
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
    on_handshake_failure: OnHandshakeFailure,
}

/// Reaction to a handshake that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnHandshakeFailure {
    Fail,
    Retry,
}

impl Retry {
    /// Returns a policy with the defaults above.
    pub const fn new() -> Self {
        Self {
            attempts: 5,
            within: Duration::from_secs(30),
            statuses: Vec::new(),
            on_handshake_failure: OnHandshakeFailure::Fail,
        }
    }

    /// Sets the maximum number of upstreams tried, including the first; at least 1, which disables
    /// retries.
    pub const fn attempts(mut self, attempts: usize) -> Self {
        self.attempts = if attempts == 0 { 1 } else { attempts };
        self
    }

    /// Sets the maximum duration of all attempts together, from the first pick to the response
    /// head, including connects, TLS and the queue before a retry. The attempt under way at its end
    /// is canceled ([`ErrorKind::AttemptsTimeout`]), even the first and whatever its own timeouts.
    /// Only the response to a [forwarded](crate::ForwardHttp) request is not bounded by it, since a
    /// long poll takes long.
    pub const fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Retries after an upstream's response with one of these statuses, such as 502, 503 and 504.
    /// The client gets the response of the last upstream tried; earlier responses are dropped and
    /// their connections closed.
    pub fn on_status(mut self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.statuses = statuses.into_iter().collect();
        self
    }

    /// Retries after a handshake that an upstream broke off, did not complete in time, or completed
    /// with an invalid 101; likewise for [forwarded](crate::ForwardHttp) requests.
    pub const fn on_handshake_failure(mut self) -> Self {
        self.on_handshake_failure = OnHandshakeFailure::Retry;
        self
    }

    pub(crate) const fn max_attempts(&self) -> usize {
        self.attempts
    }

    pub(crate) const fn time(&self) -> Duration {
        self.within
    }

    /// Returns the cost of a retry after a response with this status, if one is allowed.
    pub(crate) fn after_status(&self, status: StatusCode) -> Option<Cost> {
        let is_covered = self.statuses.contains(&status.as_u16());
        is_covered.then_some(Cost::Request)
    }

    /// Returns the cost of a retry after this failure, if one is allowed.
    pub(crate) fn after_failure(&self, kind: ErrorKind) -> Option<Cost> {
        match kind {
            // No byte of the request was sent.
            ErrorKind::Resolve
            | ErrorKind::LocalShortage
            | ErrorKind::Connect
            | ErrorKind::ConnectTimeout
            | ErrorKind::Tls
            | ErrorKind::TlsTimeout
            | ErrorKind::Http2Unsupported => Some(Cost::Connect),
            ErrorKind::HandshakeTimeout
            | ErrorKind::NoResponse
            | ErrorKind::Handshake
            | ErrorKind::InvalidUpgradeResponse
            | ErrorKind::Response
            | ErrorKind::ResponseTimeout => match self.on_handshake_failure {
                OnHandshakeFailure::Retry => Some(Cost::Request),
                OnHandshakeFailure::Fail => None,
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
    fn a_request_that_was_not_sent_may_always_be_retried() {
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
    fn a_request_that_was_sent_is_retried_if_asked_for() {
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

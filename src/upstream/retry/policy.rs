//! Retry policy of one request.

use std::time::Duration;

use http::StatusCode;

use crate::error::ErrorKind;

use super::{budget::Cost, condition::RetryOn};

/// Retry policy: the failures after which a request goes on to another upstream, the number of
/// attempts and their total time.
///
/// | failure | retried | reason |
/// |---|---|---|
/// | [`RetryOn::Connect`]: no connection, or no TLS | by default | no byte of the request was sent, so nothing can happen twice |
/// | [`RetryOn::Broken`]: closed or reset before the first byte of a response | by default, at one further upstream | a crashed or restarted upstream must not fail its clients |
/// | [`RetryOn::Timeout`], [`RetryOn::InvalidResponse`], [`RetryOn::Status`] | if asked for by [`on`](Self::on) | the upstream has received the request |
///
/// A broken request goes on to one further upstream at most: a request that makes an upstream crash
/// must not make all of them crash.
///
/// An opening handshake is a `GET` without a body, which is safe to repeat by definition (RFC 9110
/// §9.2.2). **A handshake that is retried after its upstream has received it may arrive twice.** If
/// its URL carries a ticket that is valid once, the first upstream may have spent the ticket before
/// it broke, and the second then refuses it; the client gets that refusal, where it would have got
/// a 502. If the handshake of your application has other effects, choose
/// [`only_on`](Self::only_on)`([RetryOn::Connect])`. A [forwarded](crate::ForwardHttp) request is
/// retried after it was sent only if it has no body and its method is idempotent. A request tries no
/// upstream twice, with one exception.
///
/// The exception costs no attempt: upstreams may close an idle connection at any time (RFC 9112
/// §9.3.1). A forwarded request that was sent on such a connection and got not one byte in response
/// is repeated once on a new connection to the same upstream, if it has no body and its method is
/// idempotent. After the first byte of a response, even of one that cannot be used, it is not.
///
/// The pool's [`RetryBudget`](crate::pool::RetryBudget) limits the retries of all requests together.
///
/// # Defaults
///
/// | method | default | unit | why |
/// |---|---|---|---|
/// | [`attempts`](Self::attempts) | 5 | upstreams | several may be down before probes find out |
/// | [`within`](Self::within) | 30 | seconds | clients give up about then |
/// | [`only_on`](Self::only_on) | [`Connect`](RetryOn::Connect), [`Broken`](RetryOn::Broken) | | see above |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::{Pool, ProxyLayer, Retry, pool::RetryOn};
///
/// let pool = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?;
/// let proxy = ProxyLayer::new(pool).retry(
///     Retry::new()
///         .attempts(3)
///         .within(Duration::from_secs(8))
///         .on([RetryOn::Timeout, RetryOn::Status(502), RetryOn::Status(503)]),
/// );
/// # let _ = proxy;
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Retry {
    attempts: usize,
    within: Duration,
    conditions: Vec<RetryOn>,
}

impl Retry {
    /// Returns a policy with the defaults above.
    pub fn new() -> Self {
        Self {
            attempts: 5,
            within: Duration::from_secs(30),
            conditions: vec![RetryOn::Connect, RetryOn::Broken],
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

    /// Adds failures after which a request is retried.
    ///
    /// After a refusal the client gets the response of the last upstream tried; earlier responses
    /// are dropped and their connections closed.
    pub fn on(mut self, failures: impl IntoIterator<Item = RetryOn>) -> Self {
        self.conditions.extend(failures);
        self
    }

    /// Sets the failures after which a request is retried, in place of the defaults; none turns
    /// retries off.
    pub fn only_on(mut self, failures: impl IntoIterator<Item = RetryOn>) -> Self {
        self.conditions = failures.into_iter().collect();
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
        self.cost(RetryOn::Status(status.as_u16()))
    }

    /// Returns the cost of a retry after this failure, if one is allowed. `broken` is the number of
    /// attempts of the request that broke before, without this one.
    pub(crate) fn after_failure(&self, kind: ErrorKind, broken: usize) -> Option<Cost> {
        match RetryOn::of_failure(kind)? {
            RetryOn::Broken if broken > 0 => None,
            condition => self.cost(condition),
        }
    }

    fn cost(&self, condition: RetryOn) -> Option<Cost> {
        self.conditions
            .contains(&condition)
            .then(|| condition.cost())
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

    /// Every failure: its condition, its cost, and whether it is retried by default.
    const FAILURES: [(ErrorKind, RetryOn, Cost, bool); 13] = {
        use ErrorKind as Kind;
        use RetryOn::{Broken, Connect, InvalidResponse, Timeout};
        [
            (Kind::Resolve, Connect, Cost::Connect, true),
            (Kind::LocalShortage, Connect, Cost::Connect, true),
            (Kind::Connect, Connect, Cost::Connect, true),
            (Kind::ConnectTimeout, Connect, Cost::Connect, true),
            (Kind::Tls, Connect, Cost::Connect, true),
            (Kind::TlsTimeout, Connect, Cost::Connect, true),
            (Kind::Http2Unsupported, Connect, Cost::Connect, true),
            (Kind::NoResponse, Broken, Cost::Request, true),
            (Kind::HandshakeTimeout, Timeout, Cost::Request, false),
            (Kind::ResponseTimeout, Timeout, Cost::Request, false),
            (Kind::Handshake, InvalidResponse, Cost::Request, false),
            (Kind::Response, InvalidResponse, Cost::Request, false),
            (
                Kind::InvalidUpgradeResponse,
                InvalidResponse,
                Cost::Request,
                false,
            ),
        ]
    };

    #[test]
    fn by_default_connects_and_broken_requests_are_retried_and_the_rest_if_asked_for() {
        let default = Retry::new();
        for (kind, condition, cost, by_default) in FAILURES {
            let retried = default.after_failure(kind, 0);
            assert_eq!(retried, by_default.then_some(cost), "{kind:?}");
            let only = Retry::new().only_on([condition]);
            assert_eq!(only.after_failure(kind, 0), Some(cost), "{kind:?}");
            let off = Retry::new().only_on([]);
            assert_eq!(off.after_failure(kind, 0), None, "{kind:?}");
        }
    }

    #[test]
    fn a_request_that_breaks_two_upstreams_is_tried_at_no_third() {
        let all = FAILURES.map(|(_, condition, ..)| condition);
        let retry = Retry::new().only_on(all);
        for (kind, condition, cost, _) in FAILURES {
            let is_broken = condition == RetryOn::Broken;
            let retried = retry.after_failure(kind, 1);
            assert_eq!(retried, (!is_broken).then_some(cost), "{kind:?}");
        }
    }

    #[test]
    fn statuses_are_retried_if_they_are_named() {
        let bad_gateway = StatusCode::BAD_GATEWAY;
        assert_eq!(Retry::new().after_status(bad_gateway), None);
        let retry = Retry::new().on([RetryOn::Status(502)]);
        assert_eq!(retry.after_status(bad_gateway), Some(Cost::Request));
        assert_eq!(retry.after_status(StatusCode::GATEWAY_TIMEOUT), None);
        assert_eq!(
            retry.after_failure(ErrorKind::NoResponse, 0),
            Some(Cost::Request),
            "the defaults remain"
        );
    }

    #[test]
    fn failures_of_the_client_and_of_the_proxy_are_never_retried() {
        for kind in [
            ErrorKind::Draining,
            ErrorKind::NoUpstream,
            ErrorKind::RequestBody,
            ErrorKind::AttemptsTimeout,
            ErrorKind::ResponseBody,
        ] {
            assert_eq!(RetryOn::of_failure(kind), None, "{kind:?}");
        }
    }

    #[test]
    fn there_is_always_one_attempt() {
        assert_eq!(Retry::new().attempts(0).max_attempts(), 1);
        assert_eq!(Retry::new().max_attempts(), 5);
        assert_eq!(Retry::new().attempts(3).max_attempts(), 3);
    }
}

//! Settings for forwarding ordinary requests.

use std::{num::NonZeroU32, time::Duration};

/// Settings for forwarding ordinary HTTP requests, for
/// [`ProxyLayer::forward_http`](crate::ProxyLayer::forward_http).
///
/// # Defaults
///
/// | method | default | why |
/// |---|---|---|
/// | [`response_timeout`](Self::response_timeout) | 2 min | a long poll may take more than one (SignalR: 90 s) |
/// | [`response_idle_timeout`](Self::response_idle_timeout) | 5 min | event streams may be quiet for minutes |
/// | [`request_idle_timeout`](Self::request_idle_timeout) | 60 s | a stalled upload holds a connection |
/// | [`minimum_rate`](Self::minimum_rate) | 240 bytes/s | a client that moves a byte a minute holds a connection too |
/// | [`exchange_timeout`](Self::exchange_timeout) | none | event streams and downloads may take hours |
/// | [`continue_timeout`](Self::continue_timeout) | 1 s | many servers never send a 100 |
/// | [`idle_connections`](Self::idle_connections) | 256 per upstream | bounds the sockets that wait; less than the requests that are under way at once would open connections all the time |
/// | [`max_connection_age`](Self::max_connection_age) | 5 min | a new address or a new server behind a name gets its share |
/// | [`idle_connection_timeout`](Self::idle_connection_timeout) | 4 s | less than Node.js (5 s) keeps a connection |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::{ForwardHttp, Pool, ProxyLayer, matcher::path};
///
/// let app = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?;
/// let proxy = ProxyLayer::new(app)
///     .matching(path("/socket.io/*"))
///     .forward_http(ForwardHttp::new().response_timeout(Duration::from_secs(60)));
/// # let _ = proxy;
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct ForwardHttp {
    pub(crate) response_timeout: Duration,
    pub(crate) response_idle_timeout: Option<Duration>,
    pub(crate) request_idle_timeout: Option<Duration>,
    pub(crate) minimum_rate: Option<NonZeroU32>,
    pub(crate) exchange_timeout: Option<Duration>,
    pub(crate) continue_timeout: Duration,
    pub(crate) idle_connections: usize,
    pub(crate) idle_connection_timeout: Duration,
    pub(crate) max_connection_age: Option<Duration>,
    pub(crate) allows_trace: bool,
}

impl ForwardHttp {
    /// Creates the default settings.
    pub const fn new() -> Self {
        Self {
            response_timeout: Duration::from_secs(120),
            response_idle_timeout: Some(Duration::from_secs(300)),
            request_idle_timeout: Some(Duration::from_secs(60)),
            minimum_rate: NonZeroU32::new(240),
            exchange_timeout: None,
            continue_timeout: Duration::from_secs(1),
            idle_connections: 256,
            idle_connection_timeout: Duration::from_secs(4),
            max_connection_age: Some(Duration::from_secs(300)),
            allows_trace: false,
        }
    }

    /// Forwards `TRACE` requests too; by default they are rejected with 405.
    ///
    /// The response to `TRACE` reflects the request, with the headers that the proxy adds and with
    /// credentials that a page must not see (RFC 9110 §9.3.8).
    pub const fn allow_trace(mut self) -> Self {
        self.allows_trace = true;
        self
    }

    /// Sets how long the upstream may take to send the head of its response, or to accept more of
    /// the request's body. Time in which the proxy waits for the client does not count.
    pub const fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Sets how long the upstream may be silent in the middle of its response. `None` is for event
    /// streams without keep-alive messages.
    pub fn response_idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.response_idle_timeout = timeout.into();
        self
    }

    /// Sets how long the client may be silent in the middle of its request. `None` turns the limit
    /// off.
    pub fn request_idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.request_idle_timeout = timeout.into();
        self
    }

    /// Sets the lowest rate at which a client may send its request or take its response, in bytes per
    /// second, measured over 60 s of waiting. `None` turns the limit off.
    ///
    /// Only the time counts in which bytes wait for the client, or in which the request's body delays
    /// the head of the response. So a quiet event stream is never too slow.
    pub fn minimum_rate(mut self, bytes_per_second: impl Into<Option<NonZeroU32>>) -> Self {
        self.minimum_rate = bytes_per_second.into();
        self
    }

    /// Sets how long an exchange may take in all, from the request's head to the end of the
    /// response. By default there is no such limit.
    pub fn exchange_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.exchange_timeout = timeout.into();
        self
    }

    /// Sets how long a request's body waits for the upstream's 100, if the client sent `Expect:
    /// 100-continue`. After that time the body is sent without a 100 (RFC 9110 §10.1.1).
    pub const fn continue_timeout(mut self, timeout: Duration) -> Self {
        self.continue_timeout = timeout;
        self
    }

    /// Sets how many idle connections to one upstream are kept. With 0, each request opens a
    /// connection of its own.
    pub const fn idle_connections(mut self, connections: usize) -> Self {
        self.idle_connections = connections;
        self
    }

    /// Sets the age from which a connection is not used for another request. `None` sets no limit.
    pub fn max_connection_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.max_connection_age = age.into();
        self
    }

    /// Sets how long idle connections are kept, at most until one second before the time that the
    /// upstream announces in `Keep-Alive`.
    ///
    /// The time should be shorter than the upstream's own: a request that crosses the upstream's
    /// close fails if it cannot be repeated.
    pub const fn idle_connection_timeout(mut self, timeout: Duration) -> Self {
        self.idle_connection_timeout = timeout;
        self
    }
}

impl Default for ForwardHttp {
    fn default() -> Self {
        Self::new()
    }
}

//! How ordinary requests are forwarded.

use std::time::Duration;

/// Forwards ordinary HTTP requests too, by waits and connections of their own.
///
/// Given to [`ProxyLayer::forward_http`](crate::ProxyLayer::forward_http).
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
    pub(crate) continue_timeout: Duration,
    pub(crate) idle_connections: usize,
    pub(crate) idle_connection_timeout: Duration,
}

impl ForwardHttp {
    /// The defaults.
    pub const fn new() -> Self {
        Self {
            response_timeout: Duration::from_secs(120),
            response_idle_timeout: Some(Duration::from_secs(300)),
            request_idle_timeout: Some(Duration::from_secs(60)),
            continue_timeout: Duration::from_secs(1),
            idle_connections: 32,
            idle_connection_timeout: Duration::from_secs(4),
        }
    }

    /// How long the upstream may take to the head of its answer, or to take more of the request's
    /// body, while it is its turn; 2 minutes, since a long poll may be held for more than one
    /// (SignalR: 90 s).
    pub const fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// How long the upstream may be silent in the middle of its answer; 5 minutes. `None` is for
    /// event streams that never say anything to stay alive.
    pub fn response_idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.response_idle_timeout = timeout.into();
        self
    }

    /// How long the client may be silent in the middle of its request; 60 s.
    pub fn request_idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.request_idle_timeout = timeout.into();
        self
    }

    /// How long a request's body is held back for the upstream's 100, where the client asked for
    /// that with `Expect: 100-continue`; 1 s. Many servers never send one, and after that time the
    /// body goes without (RFC 9110 §10.1.1).
    pub const fn continue_timeout(mut self, timeout: Duration) -> Self {
        self.continue_timeout = timeout;
        self
    }

    /// How many connections to one upstream are kept for coming requests; 32. With 0, each
    /// request has a connection of its own.
    pub const fn idle_connections(mut self, connections: usize) -> Self {
        self.idle_connections = connections;
        self
    }

    /// How long they are kept; 4 s, or a second less than the upstream says in `Keep-Alive`.
    ///
    /// It should be shorter than the upstream's own time (Node.js: 5 s): a request that meets the
    /// upstream's close on the way fails if it cannot be repeated.
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

//! What the host application may watch.

use std::{fmt, time::Duration};

use http::StatusCode;

use crate::{
    error::{Error, Side},
    tunnel::report::{Rtt, TunnelInfo, TunnelReport},
    upstream::discovery::DiscoverError,
    upstream::health::Transition,
};

/// Watches handshakes and tunnels. Every method does nothing unless you write it.
///
/// The methods are called on the path of a handshake or tunnel, so they should be quick: count,
/// send into a channel, and be done. No lock is held meanwhile, and the changes of an upstream
/// come in the order in which they happened. What they are shown never contains a key, a cookie, a token
/// or a payload.
///
/// # Examples
///
/// ```
/// use wsplice::{Observer, TunnelInfo, TunnelReport};
///
/// #[derive(Debug)]
/// struct PrintEnds;
///
/// impl Observer for PrintEnds {
///     fn tunnel_closed(&self, tunnel: &TunnelInfo, report: &TunnelReport) {
///         println!("{} to {}: {}", tunnel.path, tunnel.upstream, report.end);
///     }
/// }
/// # let _ = PrintEnds;
/// ```
pub trait Observer: fmt::Debug + Send + Sync {
    /// The upstream agreed, and the client is being answered 101.
    fn handshake_accepted(&self, handshake: &RequestInfo<'_>) {
        let _ = handshake;
    }

    /// The upstream said no; its own answer is being relayed, unless another upstream is tried
    /// instead ([`Retry::on_status`](crate::Retry::on_status)).
    fn handshake_refused(&self, handshake: &RequestInfo<'_>, status: StatusCode) {
        let _ = (handshake, status);
    }

    /// The proxy said no: a malformed handshake, a limit, a drain.
    fn handshake_rejected(&self, handshake: &RequestInfo<'_>, error: &Error) {
        let _ = (handshake, error);
    }

    /// An upstream could not be reached, or broke the handshake, or took too long. Called for
    /// each upstream that was tried.
    fn handshake_failed(&self, handshake: &RequestInfo<'_>, error: &Error) {
        let _ = (handshake, error);
    }

    /// Another upstream is being tried, after one that failed or refused, which was told before.
    /// `attempt` counts the upstreams of this handshake, this one included: 2 or more.
    fn handshake_retried(&self, handshake: &RequestInfo<'_>, attempt: usize) {
        let _ = (handshake, attempt);
    }

    /// An upstream's answer to a request that is [forwarded](crate::ForwardHttp) is being relayed.
    fn request_answered(&self, request: &RequestInfo<'_>, status: StatusCode) {
        let _ = (request, status);
    }

    /// The proxy said no to a request that is to be forwarded: a malformed one, a limit, a drain.
    fn request_rejected(&self, request: &RequestInfo<'_>, error: &Error) {
        let _ = (request, error);
    }

    /// An upstream could not be reached for a forwarded request, or did not answer, or broke off
    /// in the middle of its answer. Called for each upstream that was tried.
    fn request_failed(&self, request: &RequestInfo<'_>, error: &Error) {
        let _ = (request, error);
    }

    /// Another upstream is being tried for a forwarded request; `attempt` is 2 or more.
    fn request_retried(&self, request: &RequestInfo<'_>, attempt: usize) {
        let _ = (request, attempt);
    }

    /// A tunnel stands.
    fn tunnel_opened(&self, tunnel: &TunnelInfo) {
        let _ = tunnel;
    }

    /// A tunnel is over.
    fn tunnel_closed(&self, tunnel: &TunnelInfo, report: &TunnelReport) {
        let _ = (tunnel, report);
    }

    /// An upstream's health changed; the transition says how, and why.
    fn health_changed(&self, upstream: &str, transition: &Transition) {
        let _ = (upstream, transition);
    }

    /// An upstream came into the pool, left it, or is being drained.
    fn upstream_changed(&self, upstream: &str, change: UpstreamChange) {
        let _ = (upstream, change);
    }

    /// A pool's source of upstreams failed, and the pool keeps those that it has.
    fn discovery_failed(&self, error: &DiscoverError) {
        let _ = error;
    }

    /// A side answered a ping of ours.
    fn pong(&self, tunnel: &TunnelInfo, side: Side, rtt: Rtt) {
        let _ = (tunnel, side, rtt);
    }
}

/// A handshake, or a forwarded request, that an observer is shown.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestInfo<'a> {
    /// The path that the client asked for, without its query.
    pub path: &'a str,
    /// The upstream, once one was picked.
    pub upstream: Option<&'a str>,
    /// Since the request was taken up.
    pub elapsed: Duration,
}

/// What became of an upstream of a pool, apart from its health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UpstreamChange {
    /// It came into the pool.
    Added,
    /// Its weight, tags or limits were changed.
    Changed,
    /// It left the pool: it gets no new tunnels.
    Removed,
    /// It is being [drained](crate::Pool::drain): it gets no new tunnels.
    Draining,
    /// It is not drained any more.
    Resumed,
}

impl fmt::Display for UpstreamChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Draining => "draining",
            Self::Resumed => "resumed",
        })
    }
}

//! The trait of observers.

use std::{fmt, sync::Arc};

use http::StatusCode;

use crate::{
    error::{Error, Side},
    tunnel::info::TunnelInfo,
    tunnel::reattach::{Loss, ReattachRefusal, UpstreamChange},
    tunnel::report::TunnelReport,
    tunnel::traffic::Rtt,
    upstream::discovery::DiscoverError,
    upstream::health::{HealthEvent, HealthTransition},
};

use super::info::{MembershipChange, QueueWait, RequestInfo, UpstreamInfo};

/// Observes handshakes, tunnels and upstreams. Every method does nothing by default.
///
/// The methods are called on the path of a handshake or tunnel, so they should be quick: count, or
/// send into a channel. No lock is held meanwhile, and the changes of an upstream come in the order
/// in which they happened. Arguments never contain a key, a cookie, a token or a payload.
///
/// Handshakes, requests and tunnels are reported to the observers of their layer. What belongs to a pool
/// is reported to the observers of every layer of the pool, whichever layer had a part in it:
/// [`handshake_queued`](Self::handshake_queued), [`health_changed`](Self::health_changed),
/// [`probe_finished`](Self::probe_finished), [`upstream_changed`](Self::upstream_changed) and
/// [`discovery_failed`](Self::discovery_failed). To count it once for all layers, give the observer
/// [to the pool](crate::Pool::observe).
///
/// A panic in a method that a tunnel calls is caught and logged, and ends no tunnel.
/// [`tunnel_closed`](Self::tunnel_closed) and [`handshake_failed`](Self::handshake_failed) may be
/// called while a task is dropped, perhaps with its runtime: they may neither wait nor spawn.
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
pub trait Observer: Send + Sync {
    /// The upstream accepted the handshake, and the client is being sent a 101.
    fn handshake_accepted(&self, handshake: &RequestInfo<'_>) {
        let _ = handshake;
    }

    /// The upstream refused the handshake; its response is being relayed, unless another upstream
    /// is tried instead ([`RetryOn::Status`](crate::pool::RetryOn::Status)).
    fn handshake_refused(&self, handshake: &RequestInfo<'_>, status: StatusCode) {
        let _ = (handshake, status);
    }

    /// The proxy rejected a handshake: it is malformed, or a limit or a drain is in the way.
    fn handshake_rejected(&self, handshake: &RequestInfo<'_>, error: &Error) {
        let _ = (handshake, error);
    }

    /// Connecting to an upstream failed, or the handshake with it. Called for each upstream that
    /// was tried.
    fn handshake_failed(&self, handshake: &RequestInfo<'_>, error: &Error) {
        let _ = (handshake, error);
    }

    /// Another upstream is being tried, after one whose failure or refusal was reported. `attempt`
    /// counts the upstreams of this handshake, this one included: 2 or more.
    fn handshake_retried(&self, handshake: &RequestInfo<'_>, attempt: usize) {
        let _ = (handshake, attempt);
    }

    /// A handshake of any layer of the pool left the pool's queue, or that of its route, with an upstream
    /// or without; those that found room at once were not in it. Not called for a client that left
    /// meanwhile.
    fn handshake_queued(&self, wait: &QueueWait<'_>) {
        let _ = wait;
    }

    /// An upstream's response to a [forwarded](crate::ForwardHttp) request is being relayed.
    fn request_responded(&self, request: &RequestInfo<'_>, status: StatusCode) {
        let _ = (request, status);
    }

    /// The proxy rejected a request that it would forward: malformed, or a limit or a drain; or the
    /// client failed to send its body, perhaps after the response had begun.
    fn request_rejected(&self, request: &RequestInfo<'_>, error: &Error) {
        let _ = (request, error);
    }

    /// Forwarding a request to an upstream failed: no connection, no response, or a response that
    /// broke off in the middle. Called for each upstream that was tried.
    fn request_failed(&self, request: &RequestInfo<'_>, error: &Error) {
        let _ = (request, error);
    }

    /// Another upstream is being tried for a forwarded request; `attempt` is 2 or more.
    fn request_retried(&self, request: &RequestInfo<'_>, attempt: usize) {
        let _ = (request, attempt);
    }

    /// A tunnel was established.
    fn tunnel_opened(&self, tunnel: &TunnelInfo) {
        let _ = tunnel;
    }

    /// A tunnel ended. Called exactly once for each that was [opened](Self::tunnel_opened),
    /// also when its task was dropped or panicked ([`TunnelEnd::Dropped`](crate::tunnel::TunnelEnd)).
    fn tunnel_closed(&self, tunnel: &TunnelInfo, report: &TunnelReport) {
        let _ = (tunnel, report);
    }

    /// A tunnel that had lost its upstream got another one; see [`Reattach`](crate::tunnel::reattach::Reattach).
    fn tunnel_reattached(&self, tunnel: &TunnelInfo, change: &UpstreamChange) {
        let _ = (tunnel, change);
    }

    /// A tunnel that had lost its upstream got no other one, and ends.
    ///
    /// Not called where a rule forbids another upstream at the moment of the loss; the
    /// [report](crate::TunnelReport::reattach_refusal) has the reason in either case.
    fn reattachment_failed(&self, tunnel: &TunnelInfo, loss: Loss, refusal: ReattachRefusal) {
        let _ = (tunnel, loss, refusal);
    }

    /// An upstream's health changed; the transition carries both states and the reason.
    fn health_changed(&self, upstream: &UpstreamInfo<'_>, transition: &HealthTransition) {
        let _ = (upstream, transition);
    }

    /// A probe of an upstream ended; the event's kind is
    /// [`ProbePassed`](crate::health::HealthEventKind::ProbePassed) or
    /// [`ProbeFailed`](crate::health::HealthEventKind::ProbeFailed).
    fn probe_finished(&self, upstream: &UpstreamInfo<'_>, result: &HealthEvent) {
        let _ = (upstream, result);
    }

    /// An upstream was added, changed or removed, or its drain began or ended.
    fn upstream_changed(&self, upstream: &UpstreamInfo<'_>, change: MembershipChange) {
        let _ = (upstream, change);
    }

    /// The source of upstreams of the pool with this [name](crate::pool::PoolBuilder::name) failed, and
    /// the pool keeps those that it has.
    fn discovery_failed(&self, pool: Option<&str>, error: &DiscoverError) {
        let _ = (pool, error);
    }

    /// A side answered a keep-alive ping.
    fn pong(&self, tunnel: &TunnelInfo, side: Side, rtt: Rtt) {
        let _ = (tunnel, side, rtt);
    }
}

/// Shows the name of the trait alone, as `Debug` is not demanded of its types.
impl fmt::Debug for dyn Observer + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// A shared observer: the host keeps a handle to it.
impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn handshake_accepted(&self, handshake: &RequestInfo<'_>) {
        (**self).handshake_accepted(handshake);
    }

    fn handshake_refused(&self, handshake: &RequestInfo<'_>, status: StatusCode) {
        (**self).handshake_refused(handshake, status);
    }

    fn handshake_rejected(&self, handshake: &RequestInfo<'_>, error: &Error) {
        (**self).handshake_rejected(handshake, error);
    }

    fn handshake_failed(&self, handshake: &RequestInfo<'_>, error: &Error) {
        (**self).handshake_failed(handshake, error);
    }

    fn handshake_retried(&self, handshake: &RequestInfo<'_>, attempt: usize) {
        (**self).handshake_retried(handshake, attempt);
    }

    fn handshake_queued(&self, wait: &QueueWait<'_>) {
        (**self).handshake_queued(wait);
    }

    fn request_responded(&self, request: &RequestInfo<'_>, status: StatusCode) {
        (**self).request_responded(request, status);
    }

    fn request_rejected(&self, request: &RequestInfo<'_>, error: &Error) {
        (**self).request_rejected(request, error);
    }

    fn request_failed(&self, request: &RequestInfo<'_>, error: &Error) {
        (**self).request_failed(request, error);
    }

    fn request_retried(&self, request: &RequestInfo<'_>, attempt: usize) {
        (**self).request_retried(request, attempt);
    }

    fn tunnel_opened(&self, tunnel: &TunnelInfo) {
        (**self).tunnel_opened(tunnel);
    }

    fn tunnel_closed(&self, tunnel: &TunnelInfo, report: &TunnelReport) {
        (**self).tunnel_closed(tunnel, report);
    }

    fn tunnel_reattached(&self, tunnel: &TunnelInfo, change: &UpstreamChange) {
        (**self).tunnel_reattached(tunnel, change);
    }

    fn reattachment_failed(&self, tunnel: &TunnelInfo, loss: Loss, refusal: ReattachRefusal) {
        (**self).reattachment_failed(tunnel, loss, refusal);
    }

    fn health_changed(&self, upstream: &UpstreamInfo<'_>, transition: &HealthTransition) {
        (**self).health_changed(upstream, transition);
    }

    fn probe_finished(&self, upstream: &UpstreamInfo<'_>, result: &HealthEvent) {
        (**self).probe_finished(upstream, result);
    }

    fn upstream_changed(&self, upstream: &UpstreamInfo<'_>, change: MembershipChange) {
        (**self).upstream_changed(upstream, change);
    }

    fn discovery_failed(&self, pool: Option<&str>, error: &DiscoverError) {
        (**self).discovery_failed(pool, error);
    }

    fn pong(&self, tunnel: &TunnelInfo, side: Side, rtt: Rtt) {
        (**self).pong(tunnel, side, rtt);
    }
}

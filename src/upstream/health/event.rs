//! Health events: observations of an upstream.

use std::{fmt, time::Duration};

use http::StatusCode;
use tokio::time::Instant;

use crate::{
    error::{Error, ErrorKind, Side},
    tunnel::report::{TunnelEnd, TunnelReport},
};

use super::{event_origin::EventOrigin, probe::ProbeFailure};

/// Health event: an observation of an upstream, and its time.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tokio::time::Instant;
/// use wsplice::health::{HealthEvent, HealthEventKind, EventOutcome};
///
/// let now = Instant::now();
/// let lost = HealthEvent::new(
///     now,
///     HealthEventKind::TunnelLost { lifetime: Duration::from_secs(3) },
/// );
/// assert_eq!(lost.began, now - Duration::from_secs(3));
/// assert_eq!(lost.kind.outcome(), EventOutcome::Bad);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HealthEvent {
    /// Time of the observation.
    pub at: Instant,
    /// Time at which the observed probe, handshake or tunnel began.
    ///
    /// A handshake that times out describes the upstream as it was ten seconds ago. An event that
    /// began before an ejection is ignored after it.
    pub began: Instant,
    /// Kind of the observation.
    pub kind: HealthEventKind,
    /// Client and path of the request, which are the same for all events of its tunnel.
    pub(crate) origin: Option<EventOrigin>,
}

/// Kind of a health event. Failures caused by a client are never among them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HealthEventKind {
    /// A probe passed.
    ProbePassed {
        /// Duration of the probe.
        latency: Duration,
    },
    /// A probe failed.
    ProbeFailed {
        /// Reason of the failure.
        reason: ProbeFailure,
    },
    /// A client's handshake got no connection: [`ErrorKind::Connect`] or
    /// [`ErrorKind::ConnectTimeout`].
    ConnectFailed(ErrorKind),
    /// A client's handshake failed because of the upstream: [`ErrorKind::NoResponse`],
    /// [`ErrorKind::Handshake`], [`ErrorKind::HandshakeTimeout`] or
    /// [`ErrorKind::InvalidUpgradeResponse`]; the response to a forwarded request failed:
    /// [`ErrorKind::NoResponse`], [`ErrorKind::Response`], [`ErrorKind::ResponseTimeout`],
    /// [`ErrorKind::ResponseBody`] or [`ErrorKind::ResponseBodyTimeout`]; TLS failed; or the time
    /// of all attempts ran out.
    HandshakeFailed(ErrorKind),
    /// The upstream refused a client's handshake.
    Refused {
        /// Status of the response.
        status: StatusCode,
    },
    /// The upstream responded to a client's [forwarded](crate::ForwardHttp) request.
    Forwarded {
        /// Status of the response.
        status: StatusCode,
    },
    /// The upstream accepted a client's handshake.
    Accepted {
        /// Duration of connect and handshake.
        latency: Duration,
    },
    /// The upstream vanished without a close frame, broke the connection, or stopped responding.
    TunnelLost {
        /// Lifetime of the tunnel.
        lifetime: Duration,
    },
    /// The upstream closed a tunnel in order, with a close frame.
    TunnelEnded {
        /// Lifetime of the tunnel.
        lifetime: Duration,
    },
}

/// Meaning of an event for an upstream's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventOutcome {
    /// The upstream works.
    Good,
    /// The upstream fails.
    Bad,
    /// The event is neither good nor bad.
    Neutral,
}

/// Source of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventSource {
    /// A probe.
    Probe,
    /// A client's handshake or forwarded request.
    Handshake,
    /// A tunnel.
    Tunnel,
}

impl HealthEvent {
    /// Creates an event at this time. Its beginning follows from the latency or lifetime of the
    /// kind; an event with neither began at this time, unless [`started_at`](Self::started_at) sets
    /// another.
    #[must_use]
    pub fn new(at: Instant, kind: HealthEventKind) -> Self {
        let began = at.checked_sub(kind.duration()).unwrap_or(at);
        Self {
            at,
            began,
            kind,
            origin: None,
        }
    }

    /// Sets the client and the path that the event came from.
    pub(crate) const fn from(mut self, origin: EventOrigin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Sets when the probe, the handshake or the tunnel began.
    #[must_use]
    pub fn started_at(mut self, began: Instant) -> Self {
        self.began = began;
        self
    }
}

impl HealthEventKind {
    /// Returns the event of a failed handshake; `None` if the [side](Error::side) of the failure is
    /// not the upstream: a proxy without free ports or file descriptors reaches no upstream, and nor
    /// does one whose resolver fails.
    #[must_use]
    pub fn of_error(error: &Error) -> Option<Self> {
        if error.side() != Side::Upstream {
            return None;
        }
        Some(match error.kind() {
            kind @ (ErrorKind::Connect | ErrorKind::ConnectTimeout) => Self::ConnectFailed(kind),
            kind => Self::HandshakeFailed(kind),
        })
    }

    /// Returns the event of a tunnel's end; `None` if the upstream neither began nor caused the
    /// end.
    ///
    /// [`TunnelReport::is_upstream_failure`] decides which tunnels are lost.
    #[must_use]
    pub fn of_report(report: &TunnelReport) -> Option<Self> {
        let lifetime = report.duration;
        if report.is_upstream_failure() {
            return Some(Self::TunnelLost { lifetime });
        }
        let has_ended = report.end == TunnelEnd::Closed && report.initiator == Side::Upstream;
        has_ended.then_some(Self::TunnelEnded { lifetime })
    }

    /// Returns the default meaning of the event; [`EventFilter`](super::EventFilter) can change it.
    ///
    /// Passed probes, accepted handshakes, and statuses below 400 for forwarded requests are good.
    /// Failures, lost tunnels and statuses of 500 and above are bad. Other statuses are neutral, as
    /// a 401 or 404 is as likely the client's fault; so are tunnels that end in order, and probes
    /// that failed for a reason of the proxy's machine or of the resolver.
    #[must_use]
    pub fn outcome(&self) -> EventOutcome {
        match self {
            Self::ProbePassed { .. } | Self::Accepted { .. } => EventOutcome::Good,
            Self::Forwarded { status } if status.as_u16() < 400 => EventOutcome::Good,
            Self::Refused { status } | Self::Forwarded { status } if status.as_u16() < 500 => {
                EventOutcome::Neutral
            }
            Self::TunnelEnded { .. } => EventOutcome::Neutral,
            Self::ProbeFailed {
                reason: ProbeFailure::Failed(error),
            } if error.side() != Side::Upstream => EventOutcome::Neutral,
            Self::ProbeFailed { .. }
            | Self::ConnectFailed(_)
            | Self::HandshakeFailed(_)
            | Self::Refused { .. }
            | Self::Forwarded { .. }
            | Self::TunnelLost { .. } => EventOutcome::Bad,
        }
    }

    /// Returns the event as a [slug](crate#slugs), without its values: `probe_failed`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ProbePassed { .. } => "probe_passed",
            Self::ProbeFailed { .. } => "probe_failed",
            Self::ConnectFailed(_) => "connect_failed",
            Self::HandshakeFailed(_) => "handshake_failed",
            Self::Refused { .. } => "refused",
            Self::Forwarded { .. } => "forwarded",
            Self::Accepted { .. } => "accepted",
            Self::TunnelLost { .. } => "tunnel_lost",
            Self::TunnelEnded { .. } => "tunnel_ended",
        }
    }

    /// Returns the source of the event.
    #[must_use]
    pub const fn source(&self) -> EventSource {
        match self {
            Self::ProbePassed { .. } | Self::ProbeFailed { .. } => EventSource::Probe,
            Self::ConnectFailed(_)
            | Self::HandshakeFailed(_)
            | Self::Refused { .. }
            | Self::Forwarded { .. }
            | Self::Accepted { .. } => EventSource::Handshake,
            Self::TunnelLost { .. } | Self::TunnelEnded { .. } => EventSource::Tunnel,
        }
    }

    const fn duration(&self) -> Duration {
        match self {
            Self::ProbePassed { latency } | Self::Accepted { latency } => *latency,
            Self::TunnelLost { lifetime } | Self::TunnelEnded { lifetime } => *lifetime,
            _ => Duration::ZERO,
        }
    }
}

impl fmt::Display for HealthEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProbePassed { latency } => write!(f, "probe passed in {latency:?}"),
            Self::ProbeFailed { reason } => write!(f, "{reason:#}"),
            Self::ConnectFailed(kind) | Self::HandshakeFailed(kind) => Error::new(*kind).fmt(f),
            Self::Refused { status } | Self::Forwarded { status } => {
                write!(f, "responded with {status}")
            }
            Self::Accepted { latency } => write!(f, "accepted in {latency:?}"),
            Self::TunnelLost { lifetime } => write!(f, "tunnel lost after {lifetime:?}"),
            Self::TunnelEnded { lifetime } => write!(f, "tunnel ended after {lifetime:?}"),
        }
    }
}

impl EventSource {
    /// Returns the name of a failure of this source.
    pub(super) const fn failure(self) -> &'static str {
        match self {
            Self::Probe => "probe failure",
            Self::Handshake => "handshake failure",
            Self::Tunnel => "tunnel failure",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::report::{Limit, Timer};
    use std::io;

    fn report(end: TunnelEnd, initiator: Side) -> TunnelReport {
        let mut report = TunnelReport::new(end, initiator);
        report.duration = Duration::from_secs(2);
        report
    }

    fn signal_of(end: TunnelEnd, initiator: Side) -> Option<EventOutcome> {
        HealthEventKind::of_report(&report(end, initiator)).map(|kind| kind.outcome())
    }

    #[test]
    fn failures_caused_by_a_client_are_never_an_event() {
        for kind in [
            ErrorKind::MalformedHandshake,
            ErrorKind::ClientUpgrade,
            ErrorKind::Draining,
            ErrorKind::NoUpstream,
        ] {
            assert!(HealthEventKind::of_error(&Error::new(kind)).is_none());
        }
        assert_eq!(signal_of(TunnelEnd::Closed, Side::Client), None);
        assert_eq!(
            signal_of(TunnelEnd::ClosedWithoutFrame(Side::Client), Side::Client),
            None
        );
        assert_eq!(
            signal_of(TunnelEnd::ClosedWithoutFrame(Side::Upstream), Side::Client),
            None
        );
        for side in [Side::Client, Side::Upstream] {
            let reset = TunnelEnd::Broken(side, io::ErrorKind::ConnectionReset);
            assert_eq!(signal_of(reset, Side::Client), None);
        }
        let pong = TunnelEnd::Timeout(Timer::Pong, Side::Client);
        assert_eq!(signal_of(pong, Side::Client), None);
    }

    #[test]
    fn ends_caused_by_the_proxy_are_never_an_event() {
        assert_eq!(signal_of(TunnelEnd::Drained, Side::Proxy), None);
        assert_eq!(signal_of(TunnelEnd::Requested, Side::Proxy), None);
        let idle = TunnelEnd::Timeout(Timer::Idle, Side::Upstream);
        assert_eq!(signal_of(idle, Side::Proxy), None);
        let limit = TunnelEnd::Limit(Limit::FrameSize, Side::Upstream);
        assert_eq!(signal_of(limit, Side::Upstream), None);
    }

    #[test]
    fn shortages_of_the_proxy_and_failures_of_the_resolver_blame_no_upstream() {
        for (kind, outcome) in [
            (ErrorKind::LocalShortage, None),
            (ErrorKind::Resolve, None),
            (ErrorKind::Connect, Some(EventOutcome::Bad)),
            (ErrorKind::Tls, Some(EventOutcome::Bad)),
        ] {
            let event = HealthEventKind::of_error(&Error::new(kind));
            assert_eq!(event.map(|event| event.outcome()), outcome, "{kind:?}");
            let reason = ProbeFailure::Failed(Error::new(kind));
            let probed = HealthEventKind::ProbeFailed { reason }.outcome();
            assert_eq!(probed, outcome.unwrap_or(EventOutcome::Neutral), "{kind:?}");
        }
    }

    #[test]
    fn an_upstream_that_vanishes_or_falls_silent_is_bad() {
        let reset = TunnelEnd::Broken(Side::Upstream, io::ErrorKind::ConnectionReset);
        let pong = TunnelEnd::Timeout(Timer::Pong, Side::Upstream);
        for end in [TunnelEnd::ClosedWithoutFrame(Side::Upstream), reset, pong] {
            assert_eq!(signal_of(end, Side::Upstream), Some(EventOutcome::Bad));
        }
        let closed = signal_of(TunnelEnd::Closed, Side::Upstream);
        assert_eq!(closed, Some(EventOutcome::Neutral));
    }

    #[test]
    fn a_report_and_health_agree_on_the_failures_of_an_upstream() {
        use crate::frame::Violation;

        let ends_of = |side| {
            [
                (TunnelEnd::ClosedWithoutFrame(side), true),
                (TunnelEnd::TruncatedFrame(side), true),
                (TunnelEnd::Broken(side, io::ErrorKind::BrokenPipe), true),
                (TunnelEnd::Timeout(Timer::Pong, side), true),
                (TunnelEnd::Timeout(Timer::Write, side), true),
                (TunnelEnd::Timeout(Timer::Idle, side), false),
                (TunnelEnd::Timeout(Timer::HalfClose, side), false),
                (TunnelEnd::Timeout(Timer::MaxLifetime, side), false),
                (TunnelEnd::Timeout(Timer::CloseHandshake, side), false),
                (TunnelEnd::Timeout(Timer::Frame, side), false),
                (TunnelEnd::Limit(Limit::ByteRate, side), false),
                (TunnelEnd::Violation(Violation::Unmasked, side), false),
                (TunnelEnd::Closed, false),
                (TunnelEnd::Requested, false),
                (TunnelEnd::Drained, false),
                (TunnelEnd::Dropped, false),
            ]
        };
        let sides = [Side::Client, Side::Upstream, Side::Proxy];
        for (side, initiator) in sides
            .into_iter()
            .flat_map(|side| sides.map(|by| (side, by)))
        {
            for (end, is_failure) in ends_of(side) {
                let is_upstream = (side, initiator) == (Side::Upstream, Side::Upstream);
                let report = report(end.clone(), initiator);
                let lost = matches!(
                    HealthEventKind::of_report(&report),
                    Some(HealthEventKind::TunnelLost { .. })
                );
                assert_eq!(lost, is_failure && is_upstream, "{end:?} by {initiator}");
                assert_eq!(report.is_upstream_failure(), lost, "{end:?} by {initiator}");
            }
        }
    }

    #[test]
    fn answers_are_bad_from_500_on() {
        for (status, signal) in [(302, EventOutcome::Neutral), (404, EventOutcome::Neutral)]
            .into_iter()
            .chain([
                (499, EventOutcome::Neutral),
                (500, EventOutcome::Bad),
                (503, EventOutcome::Bad),
            ])
        {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(HealthEventKind::Refused { status }.outcome(), signal);
            let forwarded = HealthEventKind::Forwarded { status }.outcome();
            let expected = match status.as_u16() {
                ..400 => EventOutcome::Good,
                _ => signal,
            };
            assert_eq!(forwarded, expected);
        }
    }

    #[test]
    fn errors_of_the_upstream_are_distinguished() {
        let kind = |kind| HealthEventKind::of_error(&Error::new(kind)).unwrap();
        assert!(matches!(
            kind(ErrorKind::ConnectTimeout),
            HealthEventKind::ConnectFailed(ErrorKind::ConnectTimeout)
        ));
        assert!(matches!(
            kind(ErrorKind::InvalidUpgradeResponse),
            HealthEventKind::HandshakeFailed(ErrorKind::InvalidUpgradeResponse)
        ));
    }
}

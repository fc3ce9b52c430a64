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
mod tests;

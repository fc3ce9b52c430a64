//! The report of a tunnel at its end.

use std::{fmt, io, time::Duration};

use crate::{
    error::Side,
    frame::{CloseCode, Violation},
    tunnel::reattach::{Loss, ReattachRefusal, UpstreamChange},
    tunnel::traffic::{DirectionStats, Rtt},
};

/// Report of a tunnel: why it ended, which side began the end, and how much passed until then.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TunnelReport {
    /// Why the tunnel ended.
    pub end: TunnelEnd,
    /// The side that began the end.
    pub initiator: Side,
    /// The side that did not answer a close frame of ours within the close timeout, and was cut
    /// off for it; if neither did, the client.
    pub unanswered_close: Option<Side>,
    /// The code of the close frame with which the proxy ended the tunnel, if it did so and with one:
    /// the client's, or the upstream's where the client's leg got none.
    pub proxy_close: Option<CloseCode>,
    /// Traffic from the client to the upstream.
    pub client_to_upstream: DirectionStats,
    /// Traffic from the upstream to the client.
    pub upstream_to_client: DirectionStats,
    /// Round trips of our pings to the client, if any was answered.
    pub client_rtt: Option<Rtt>,
    /// Round trips of our pings to the upstream, if any was answered.
    pub upstream_rtt: Option<Rtt>,
    /// From the start of the tunnel to its end.
    pub duration: Duration,
    /// The latest changes of the upstream, at most 64, the first one first; see
    /// [`Reattach`](crate::tunnel::reattach::Reattach).
    pub upstream_changes: Vec<UpstreamChange>,
    /// Why the tunnel got no other upstream when it lost its last one.
    pub reattach_refusal: Option<ReattachRefusal>,
}

impl TunnelReport {
    /// A report without figures, for tests of an [`Observer`](crate::Observer); the rest of the
    /// fields can be set.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use wsplice::{
    ///     TunnelReport,
    ///     tunnel::{Rtt, Side, TunnelEnd},
    /// };
    ///
    /// let mut report = TunnelReport::new(TunnelEnd::Closed, Side::Client);
    /// report.client_to_upstream.bytes = 1_000;
    /// report.client_rtt = Some(Rtt::first(Duration::from_millis(20)));
    /// assert!(!report.is_upstream_failure());
    /// ```
    #[must_use]
    pub fn new(end: TunnelEnd, initiator: Side) -> Self {
        Self {
            end,
            initiator,
            unanswered_close: None,
            proxy_close: None,
            client_to_upstream: DirectionStats::default(),
            upstream_to_client: DirectionStats::default(),
            client_rtt: None,
            upstream_rtt: None,
            duration: Duration::ZERO,
            upstream_changes: Vec::new(),
            reattach_refusal: None,
        }
    }

    /// The close code by which the tunnel ended: that of the initiator's close frame or, if the
    /// initiator sent none and the proxy closed the tunnel therefore, the proxy's.
    ///
    /// [`CloseCode::NO_STATUS`] is a close frame without a code, and [`CloseCode::ABNORMAL`] an end
    /// without a close frame, as an endpoint reports it (RFC 6455 §7.1.5).
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{
    ///     TunnelReport,
    ///     frame::CloseCode,
    ///     tunnel::{ReceivedClose, Side, TunnelEnd},
    /// };
    ///
    /// let mut report = TunnelReport::new(TunnelEnd::Closed, Side::Client);
    /// report.client_to_upstream.close = Some(ReceivedClose::new(Some(CloseCode::NORMAL), "bye"));
    /// assert_eq!(report.close_code(), CloseCode::NORMAL);
    /// ```
    #[must_use]
    pub fn close_code(&self) -> CloseCode {
        let received = match self.initiator {
            Side::Client => self.client_to_upstream.close.as_ref(),
            Side::Upstream => self.upstream_to_client.close.as_ref(),
            Side::Proxy => None,
        };
        match received {
            Some(close) => close.code.unwrap_or(CloseCode::NO_STATUS),
            None => self.proxy_close.unwrap_or(CloseCode::ABNORMAL),
        }
    }

    /// Whether the end was the upstream's failure: it vanished without a close frame, broke the
    /// connection, or stopped answering, and the end began with that. Health counts the same ends
    /// as [lost tunnels](crate::health::HealthEventKind::TunnelLost).
    #[must_use]
    pub fn is_upstream_failure(&self) -> bool {
        self.end.failed_side() == Some(Side::Upstream) && self.initiator == Side::Upstream
    }
}

/// Why a tunnel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TunnelEnd {
    /// A close frame passed, then the connections ended in order.
    Closed,
    /// This side ended its connection in order, but sent no close frame before.
    ClosedWithoutFrame(Side),
    /// This side ended its connection in the middle of a frame.
    TruncatedFrame(Side),
    /// This side's connection broke: reset, or another error of the transport.
    Broken(Side, io::ErrorKind),
    /// A timer fired; the side is the one that it waited for.
    Timeout(Timer, Side),
    /// This side went over a limit.
    Limit(Limit, Side),
    /// This side broke the protocol, and the tunnel enforces it.
    Violation(Violation, Side),
    /// The proxy's operator closed this tunnel.
    Requested,
    /// The tunnel was closed by a drain.
    Drained,
    /// The tunnel was dropped before its end: its task was cancelled, or the runtime went away.
    Dropped,
}

impl TunnelEnd {
    /// The side whose failure the end was, if it was one. A side that goes over a limit or breaks
    /// a rule still works.
    #[must_use]
    pub const fn failed_side(&self) -> Option<Side> {
        match self {
            Self::ClosedWithoutFrame(side)
            | Self::TruncatedFrame(side)
            | Self::Broken(side, _)
            | Self::Timeout(Timer::Pong | Timer::Write, side) => Some(*side),
            Self::Closed
            | Self::Timeout(..)
            | Self::Limit(..)
            | Self::Violation(..)
            | Self::Requested
            | Self::Drained
            | Self::Dropped => None,
        }
    }

    /// The end of a tunnel that loses its upstream so and gets no other one.
    pub(crate) const fn of_loss(loss: Loss) -> Self {
        match loss {
            Loss::ClosedWithoutFrame => Self::ClosedWithoutFrame(Side::Upstream),
            Loss::Broken(kind) => Self::Broken(Side::Upstream, kind),
            Loss::PongTimeout => Self::Timeout(Timer::Pong, Side::Upstream),
            Loss::WriteTimeout => Self::Timeout(Timer::Write, Side::Upstream),
            Loss::Closed(_) => Self::Closed,
            Loss::Moved => Self::Drained,
        }
    }

    /// The end as a [slug](crate#slugs), with the timer or limit but without the side: `closed`,
    /// `pong_timeout`, `message_size_limit`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ClosedWithoutFrame(_) => "closed_without_frame",
            Self::TruncatedFrame(_) => "truncated_frame",
            Self::Broken(..) => "broken",
            Self::Timeout(Timer::Pong, _) => "pong_timeout",
            Self::Timeout(Timer::Idle, _) => "idle_timeout",
            Self::Timeout(Timer::HalfClose, _) => "half_close_timeout",
            Self::Timeout(Timer::Write, _) => "write_timeout",
            Self::Timeout(Timer::MaxLifetime, _) => "max_lifetime_timeout",
            Self::Timeout(Timer::CloseHandshake, _) => "close_handshake_timeout",
            Self::Timeout(Timer::Frame, _) => "frame_timeout",
            Self::Timeout(Timer::Deadline, _) => "deadline_timeout",
            Self::Limit(Limit::FrameSize, _) => "frame_size_limit",
            Self::Limit(Limit::MessageSize, _) => "message_size_limit",
            Self::Limit(Limit::MessageRate, _) => "message_rate_limit",
            Self::Limit(Limit::ByteRate, _) => "byte_rate_limit",
            Self::Violation(..) => "violation",
            Self::Requested => "requested",
            Self::Drained => "drained",
            Self::Dropped => "dropped",
        }
    }
}

impl fmt::Display for TunnelEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::ClosedWithoutFrame(side) => write!(f, "the {side} ended without a close frame"),
            Self::TruncatedFrame(side) => write!(f, "the {side} ended in the middle of a frame"),
            Self::Broken(side, kind) => write!(f, "the {side}'s connection broke: {kind}"),
            Self::Timeout(timer, side) => write!(f, "{timer} timeout on the {side} side"),
            Self::Limit(limit, side) => write!(f, "the {side} went over the {limit} limit"),
            Self::Violation(violation, side) => {
                write!(f, "the {side} broke the protocol: {violation}")
            }
            Self::Requested => f.write_str("closed by the operator"),
            Self::Drained => f.write_str("drained"),
            Self::Dropped => f.write_str("dropped"),
        }
    }
}

/// Timeouts of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Timer {
    /// A ping was not answered.
    Pong,
    /// Nothing passed in either direction.
    Idle,
    /// One direction had ended, and nothing more passed in the other.
    HalfClose,
    /// A side took none of the bytes that waited for it.
    Write,
    /// The tunnel reached its maximum lifetime.
    MaxLifetime,
    /// An endpoint did not answer the other one's close frame.
    CloseHandshake,
    /// A side left a frame unfinished that a ping had to wait for.
    Frame,
    /// The tunnel reached the deadline that the host set for its request.
    Deadline,
}

impl Timer {
    /// The timer as a [slug](crate#slugs), such as `half_close`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pong => "pong",
            Self::Idle => "idle",
            Self::HalfClose => "half_close",
            Self::Write => "write",
            Self::MaxLifetime => "max_lifetime",
            Self::CloseHandshake => "close_handshake",
            Self::Frame => "frame",
            Self::Deadline => "deadline",
        }
    }
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pong => "pong",
            Self::Idle => "idle",
            Self::HalfClose => "half-close",
            Self::Write => "write",
            Self::MaxLifetime => "maximum lifetime",
            Self::CloseHandshake => "closing handshake",
            Self::Frame => "unfinished frame",
            Self::Deadline => "deadline",
        })
    }
}

/// Limits that a side can exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// Payload of one frame.
    FrameSize,
    /// Payload of one message, summed over its fragments, as on the wire.
    MessageSize,
    /// Messages in a second.
    MessageRate,
    /// Bytes in a second.
    ByteRate,
}

impl Limit {
    /// The limit as a [slug](crate#slugs), such as `frame_size`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FrameSize => "frame_size",
            Self::MessageSize => "message_size",
            Self::MessageRate => "message_rate",
            Self::ByteRate => "byte_rate",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FrameSize => "frame size",
            Self::MessageSize => "message size",
            Self::MessageRate => "message rate",
            Self::ByteRate => "byte rate",
        })
    }
}

//! Which close code goes to whom, and why. The crate's only place that names one.
//!
//! 1005, 1006 and 1015 are never sent (RFC 6455 §7.4.1).

use std::borrow::Cow;

use crate::{
    error::Side,
    frame::{CloseCode, CloseFrame},
    tunnel::report::{Limit, Timer, TunnelEnd},
};

/// How a leg is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// A close frame, its answer awaited, then an orderly end.
    Close(CloseFrame),
    /// No frame can or need be sent: the connection is reset.
    Abort,
}

impl Farewell {
    fn close(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Close(CloseFrame::new(code, reason))
    }
}

/// How the proxy ends the leg to `side` when the tunnel ends for this reason.
///
/// A close that an operator or a drain asks for brings its own code and reason instead.
pub(super) fn farewell(end: &TunnelEnd, side: Side) -> Farewell {
    match end {
        // Resets propagate to the upstream; the client is told that the upstream was lost.
        TunnelEnd::Broken(lost, _)
        | TunnelEnd::TruncatedFrame(lost)
        | TunnelEnd::ClosedWithoutFrame(lost) => {
            if *lost == Side::Upstream && side == Side::Client {
                Farewell::close(CloseCode::INTERNAL_ERROR, "upstream connection lost")
            } else {
                Farewell::Abort
            }
        }
        TunnelEnd::Timeout(Timer::Pong | Timer::Write, dead) if *dead == side => Farewell::Abort,
        TunnelEnd::Timeout(Timer::Pong, dead) => lost_leg(*dead, "did not answer a ping"),
        TunnelEnd::Timeout(Timer::Write, dead) => lost_leg(*dead, "stopped reading"),
        TunnelEnd::Timeout(Timer::Idle, _) => {
            Farewell::close(CloseCode::GOING_AWAY, "idle timeout")
        }
        TunnelEnd::Timeout(Timer::MaxLifetime, _) => {
            Farewell::close(CloseCode::GOING_AWAY, "maximum lifetime reached")
        }
        TunnelEnd::Timeout(..) | TunnelEnd::Closed | TunnelEnd::Dropped => Farewell::Abort,
        TunnelEnd::Limit(limit, offender) if *offender == side => over_limit(*limit),
        TunnelEnd::Violation(violation, offender) if *offender == side => {
            Farewell::close(CloseCode::PROTOCOL_ERROR, violation.to_string())
        }
        TunnelEnd::Limit(_, offender) | TunnelEnd::Violation(_, offender) => {
            lost_leg(*offender, "was closed by the proxy")
        }
        TunnelEnd::Requested | TunnelEnd::Drained => {
            Farewell::close(CloseCode::GOING_AWAY, "going away")
        }
    }
}

/// What the other leg hears when one is lost: 1011 of an upstream, 1001 of a client.
fn lost_leg(lost: Side, how: &str) -> Farewell {
    let code = match lost {
        Side::Upstream => CloseCode::INTERNAL_ERROR,
        Side::Client | Side::Proxy => CloseCode::GOING_AWAY,
    };
    Farewell::close(code, format!("{lost} {how}"))
}

fn over_limit(limit: Limit) -> Farewell {
    match limit {
        Limit::FrameSize => Farewell::close(CloseCode::MESSAGE_TOO_BIG, "frame too big"),
        Limit::MessageSize => Farewell::close(CloseCode::MESSAGE_TOO_BIG, "message too big"),
        Limit::MessageRate => Farewell::close(CloseCode::POLICY_VIOLATION, "too many messages"),
        Limit::ByteRate => Farewell::close(CloseCode::POLICY_VIOLATION, "too many bytes"),
    }
}

#[cfg(test)]
mod tests;

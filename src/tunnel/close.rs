//! Close codes for each end that the tunnel itself decides; no other file of the crate names them.
//!
//! Drains and the registry bring frames and defaults of their own. 1005, 1006 and
//! 1015 are never sent (RFC 6455 §7.4.1).

use std::borrow::Cow;

use crate::{
    error::Side,
    frame::{CloseCode, CloseFrame},
    tunnel::reattach::Loss,
    tunnel::report::{Limit, Timer, TunnelEnd},
};

/// How the proxy ends a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CloseAction {
    /// A close frame, a wait for the endpoint's own, then an orderly end.
    Close(CloseFrame),
    /// An orderly end without a close frame, after the bytes on their way.
    Shut,
    /// A drop of the connection at once, because no frame can or need be sent.
    Abort,
}

impl CloseAction {
    fn close(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Close(CloseFrame::new(code, reason))
    }
}

/// How the proxy ends the leg to `side` when it ends the tunnel for this reason.
pub(super) fn close_action(end: &TunnelEnd, side: Side) -> CloseAction {
    match end {
        // Resets propagate to the upstream; the client learns that the upstream was lost.
        TunnelEnd::Broken(Side::Upstream, _) | TunnelEnd::ClosedWithoutFrame(Side::Upstream)
            if side == Side::Client =>
        {
            CloseAction::close(CloseCode::INTERNAL_ERROR, "upstream connection lost")
        }
        // A side that ended in order has its leg ended in order.
        TunnelEnd::ClosedWithoutFrame(_) => CloseAction::Shut,
        TunnelEnd::Timeout(timer, dead) => after_timeout(*timer, *dead, side),
        TunnelEnd::Limit(limit, offender) if *offender == side => over_limit(*limit),
        TunnelEnd::Violation(violation, offender) if *offender == side => {
            CloseAction::close(CloseCode::PROTOCOL_ERROR, violation.to_string())
        }
        TunnelEnd::Limit(_, offender) | TunnelEnd::Violation(_, offender) => {
            lost_leg(*offender, "was closed by the proxy")
        }
        // Operators and drains bring their own frames where they close. The other ends are not
        // decided by the proxy.
        TunnelEnd::Requested
        | TunnelEnd::Drained
        | TunnelEnd::Broken(..)
        | TunnelEnd::TruncatedFrame(_)
        | TunnelEnd::Closed
        | TunnelEnd::Dropped => CloseAction::Abort,
    }
}

/// How the proxy ends the leg to `side` when the client cannot go on with the upstream that it got
/// after this loss: the client's as if there were no other upstream.
pub(super) fn unfit_action(loss: Loss, side: Side) -> CloseAction {
    match (side, loss) {
        (Side::Client, Loss::Closed(code)) => CloseAction::close(code, ""),
        (Side::Client, _) => close_action(&TunnelEnd::of_loss(loss), side),
        (Side::Upstream | Side::Proxy, _) => {
            CloseAction::close(CloseCode::GOING_AWAY, "the client cannot go on")
        }
    }
}

/// How the leg to `side` ends when a wait for `dead` timed out.
fn after_timeout(timer: Timer, dead: Side, side: Side) -> CloseAction {
    match timer {
        Timer::Idle => CloseAction::close(CloseCode::GOING_AWAY, "idle timeout"),
        Timer::MaxLifetime => CloseAction::close(CloseCode::GOING_AWAY, "maximum lifetime reached"),
        // The registry's command brings a frame.
        Timer::Deadline => CloseAction::Abort,
        // The dead side still sends, so it can be closed; the other leg is inside its frame.
        Timer::Frame if dead == side => {
            CloseAction::close(CloseCode::POLICY_VIOLATION, "a frame stayed unfinished")
        }
        Timer::Frame => CloseAction::Abort,
        _ if dead == side => CloseAction::Abort,
        Timer::HalfClose => CloseAction::Shut,
        Timer::Pong => lost_leg(dead, "did not answer a ping"),
        Timer::Write => lost_leg(dead, "stopped reading"),
        Timer::CloseHandshake => lost_leg(dead, "did not answer a close frame"),
    }
}

/// The frame for the other leg when one is lost: 1011 of an upstream, 1001 of a client.
fn lost_leg(lost: Side, how: &str) -> CloseAction {
    let code = match lost {
        Side::Upstream => CloseCode::INTERNAL_ERROR,
        Side::Client | Side::Proxy => CloseCode::GOING_AWAY,
    };
    CloseAction::close(code, format!("{lost} {how}"))
}

fn over_limit(limit: Limit) -> CloseAction {
    match limit {
        Limit::FrameSize => CloseAction::close(CloseCode::MESSAGE_TOO_BIG, "frame too big"),
        Limit::MessageSize => CloseAction::close(CloseCode::MESSAGE_TOO_BIG, "message too big"),
        Limit::MessageRate => CloseAction::close(CloseCode::POLICY_VIOLATION, "too many messages"),
        Limit::ByteRate => CloseAction::close(CloseCode::POLICY_VIOLATION, "too many bytes"),
    }
}

#[cfg(test)]
mod tests;

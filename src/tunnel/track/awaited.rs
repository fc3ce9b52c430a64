//! Control frames that a direction keeps to itself: pongs to our pings, and those that concern one
//! upstream alone.

use tokio::time::Instant;

use crate::{
    frame::{ControlFrame, OpCode},
    tunnel::{
        keep_alive::Pinger,
        pair::LegId,
        reattach::{Fate, Filter},
    },
};

use super::unanswered::UnansweredPings;

/// Pongs that are awaited from a side.
#[derive(Debug)]
pub(in crate::tunnel) struct Awaited<'leg> {
    pub(in crate::tunnel) pinger: Option<&'leg mut Pinger>,
    /// Pings of the other endpoint that the side has not answered.
    pub(in crate::tunnel) unanswered_pings: &'leg mut UnansweredPings,
    /// Present where the tunnel may get another upstream.
    pub(in crate::tunnel) filter: Option<FilterFrom<'leg>>,
}

/// Filter of the control frames from a side.
#[derive(Debug)]
pub(in crate::tunnel) struct FilterFrom<'leg> {
    pub(in crate::tunnel) filter: &'leg mut Filter,
    pub(in crate::tunnel) from: LegId,
}

impl FilterFrom<'_> {
    /// Whether the side owes a pong to an upstream that was lost.
    fn expects_stale_pong(&self) -> bool {
        self.from == LegId::Client && self.filter.expects_stale_pong()
    }
}

/// Whose pong a frame is.
pub(super) enum Pong {
    Ours(usize),
    Theirs,
    Cut,
}

/// Reads the pong at the beginning of these bytes.
pub(super) fn read_pong(bytes: &[u8], awaited: &mut Awaited<'_>, now: Instant) -> Pong {
    let Some(pinger) = awaited.pinger.as_deref_mut() else {
        return Pong::Theirs;
    };
    if !pinger.expects_pong() {
        return Pong::Theirs;
    }
    match ControlFrame::parse(bytes) {
        Ok(Some((pong, len))) => {
            // Some peers answer with a payload of their own. Unless the other endpoint, or one before
            // it, has sent a ping, such a pong can only be meant for us.
            let filter = awaited.filter.as_ref();
            let is_ours = pinger.take_pong(pong.payload(), now)
                || !awaited.unanswered_pings.may_be_answered_by(bytes)
                    && !filter.is_some_and(FilterFrom::expects_stale_pong)
                    && pinger.take_odd_pong(now);
            match is_ours {
                true => Pong::Ours(len),
                false => Pong::Theirs,
            }
        }
        Ok(None) => Pong::Cut,
        Err(_) => Pong::Theirs,
    }
}

/// Returns the fate of the control frame at the beginning of these bytes, and its length; `None` if
/// it has come in part.
pub(super) fn judge_control(bytes: &[u8], awaited: &mut Awaited<'_>) -> Option<(Fate, usize)> {
    let Some(FilterFrom { filter, from }) = &mut awaited.filter else {
        return Some((Fate::Pass, 0));
    };
    let unanswered_pings = &mut *awaited.unanswered_pings;
    match ControlFrame::parse(bytes) {
        Ok(Some((frame, len))) => {
            let answers_newest = || unanswered_pings.newest_is_answered_by(bytes);
            let fate = filter.decide(*from, &frame, answers_newest);
            if fate == Fate::SwallowAnswer {
                unanswered_pings.settle(bytes);
                return Some((Fate::Swallow, len));
            }
            Some((fate, len))
        }
        Ok(None) => None,
        Err(_) => Some((Fate::Pass, 0)),
    }
}

/// Notes in the filter that no ping of the client waits for a pong of the upstream.
pub(super) fn settle_filter(awaited: &mut Awaited<'_>) {
    if let Some(FilterFrom { filter, from }) = &mut awaited.filter {
        if *from == LegId::Upstream && awaited.unanswered_pings.are_settled() {
            filter.settle_pings();
        }
    }
}

/// Whether the bytes begin a control frame (RFC 6455 §5.5).
#[inline]
pub(super) fn is_control(bytes: &[u8]) -> bool {
    bytes
        .first()
        .is_some_and(|first| OpCode::from_bits(*first).is_control())
}

/// Whether the bytes begin a pong frame (opcode 0xA, whatever FIN and the reserved bits).
pub(super) fn is_pong(bytes: &[u8]) -> bool {
    bytes
        .first()
        .is_some_and(|first| OpCode::from_bits(*first) == OpCode::PONG)
}

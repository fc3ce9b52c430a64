//! The pings of one endpoint that the other one has not answered.

use crate::{frame::ControlFrame, hash::hash};

/// The most pings that are counted. An endpoint need not answer all of them (RFC 6455 §5.5.3), and
/// as many of its pongs are exempt from its limits.
const MAX_COUNT: u8 = 16;

/// Pings that an endpoint was sent by the other one and has not answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::tunnel) struct UnansweredPings {
    pub(super) count: u8,
    newest: Payload,
}

/// The payload of the newest ping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Payload {
    /// The ping came in parts.
    #[default]
    Unknown,
    /// The hash of a payload that differs from that of the ping before.
    Distinct(u16),
    /// Several pings have the same payload, so that a pong does not show which of them it answers.
    Repeated,
}

impl UnansweredPings {
    /// The ping at the beginning of these bytes, as far as they hold it.
    pub(super) fn ping(bytes: &[u8]) -> Self {
        Self {
            count: 1,
            newest: payload_hash(bytes).map_or(Payload::Unknown, Payload::Distinct),
        }
    }

    /// Adds newer pings.
    pub(in crate::tunnel) fn add(&mut self, newer: Self) {
        if newer.are_none() {
            return;
        }
        let is_repeated = match self.newest {
            Payload::Unknown => false,
            Payload::Distinct(_) => self.newest == newer.newest,
            Payload::Repeated => true,
        };
        self.count = self.count.saturating_add(newer.count).min(MAX_COUNT);
        self.newest = match is_repeated {
            true => Payload::Repeated,
            false => newer.newest,
        };
    }

    /// Whether no ping waits for a pong.
    #[inline]
    pub(in crate::tunnel) const fn are_none(&self) -> bool {
        self.count == 0
    }

    /// The number of pings that wait for a pong, up to 16.
    pub(in crate::tunnel) const fn count(&self) -> u8 {
        self.count
    }

    /// Whether the pong at the beginning of these bytes answers the newest ping.
    pub(super) fn newest_is_answered_by(&self, pong: &[u8]) -> bool {
        !self.are_none()
            && match self.newest {
                Payload::Unknown => false,
                Payload::Distinct(newest) => payload_hash(pong) == Some(newest),
                // Every further pong is the next upstream's, as far as that can be known.
                Payload::Repeated => true,
            }
    }

    /// Settles the pings that the pong at the beginning of these bytes answers: one, or all if it
    /// answers the newest.
    pub(super) fn settle(&mut self, pong: &[u8]) {
        self.count = match self.newest {
            Payload::Distinct(newest) if payload_hash(pong) == Some(newest) => 0,
            _ => self.count.saturating_sub(1),
        };
        if self.are_none() {
            self.newest = Payload::Unknown;
        }
    }
}

/// The hash of the payload of the control frame at the beginning of these bytes, if they hold all
/// of it.
fn payload_hash(bytes: &[u8]) -> Option<u16> {
    let (frame, _) = ControlFrame::parse(bytes).ok()??;
    let [low, high, ..] = hash(frame.payload().iter().copied()).to_le_bytes();
    Some(u16::from_le_bytes([low, high]))
}

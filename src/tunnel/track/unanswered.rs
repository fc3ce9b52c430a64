//! The pings of one endpoint that the other one has not answered.

use crate::{frame::ControlFrame, hash::hash};

/// The most pings whose pongs are exempt from limits: an endpoint need not answer all of them
/// (RFC 6455 §5.5.3).
const MAX_EXPECTED: u8 = 16;

/// Pings that an endpoint was sent by the other one and has not answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::tunnel) struct UnansweredPings {
    /// The number of pings that wait for a pong, up to 255: an endpoint that leaves so many of them
    /// unanswered answers none.
    count: u8,
    /// The number of pongs that are expected for them, at most [`MAX_EXPECTED`].
    expected: u8,
    /// Known until a pong has this payload: one with another payload may have been unsolicited.
    newest: Payload,
    /// The payloads of the pings that may wait, as a set of the remainders of their hashes. They are known
    /// for longer than the pings are counted: pongs that were unsolicited may have been counted too.
    payloads: u16,
}

/// The payload of the newest ping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Payload {
    /// The ping came in parts.
    #[default]
    Unknown,
    /// The hash of a payload that no other ping that waits has.
    Distinct(u16),
    /// The hash of a payload that another ping may have, so that a pong does not show which of them
    /// it answers.
    Repeated(u16),
}

impl UnansweredPings {
    /// The ping at the beginning of these bytes, as far as they hold it.
    pub(super) fn ping(bytes: &[u8]) -> Self {
        let hash = payload_hash(bytes);
        Self {
            count: 1,
            expected: 1,
            newest: hash.map_or(Payload::Unknown, Payload::Distinct),
            // An unknown payload may be any.
            payloads: hash.map_or(u16::MAX, element),
        }
    }

    /// Adds newer pings.
    pub(in crate::tunnel) fn add(&mut self, newer: Self) {
        if newer.count == 0 {
            return;
        }
        // A set of all remainders does not distinguish payloads.
        if self.are_none() && self.payloads == u16::MAX {
            *self = Self::default();
        }
        self.newest = match newer.newest {
            Payload::Distinct(hash) if self.payloads & element(hash) != 0 => {
                Payload::Repeated(hash)
            }
            newest => newest,
        };
        self.count = self.count.saturating_add(newer.count);
        self.expected = (self.expected + newer.expected).min(MAX_EXPECTED);
        self.payloads |= newer.payloads;
    }

    /// Whether no ping waits for a pong.
    pub(in crate::tunnel) const fn are_none(&self) -> bool {
        self.count == 0
    }

    /// Whether no ping waits for a pong, and the newest one was answered by its payload.
    pub(super) fn are_settled(&self) -> bool {
        self.are_none() && self.newest == Payload::Unknown
    }

    /// Whether a pong is expected, so that it is forced and answers the other endpoint.
    #[inline]
    pub(in crate::tunnel) const fn expect_pong(&self) -> bool {
        self.expected > 0
    }

    /// Whether the pong at the beginning of these bytes may be meant for the other endpoint: while pings
    /// wait whatever its payload, and later if it has that of a ping.
    pub(super) fn may_be_answered_by(&self, pong: &[u8]) -> bool {
        let is_payload = |hash| self.payloads & element(hash) != 0;
        !self.are_none() || payload_hash(pong).is_some_and(is_payload)
    }

    /// The number of pings that wait for a pong, up to 255.
    pub(in crate::tunnel) const fn count(&self) -> u8 {
        self.count
    }

    /// Whether the pong at the beginning of these bytes answers the newest ping, as far as its payload
    /// shows that.
    pub(super) fn newest_is_answered_by(&self, pong: &[u8]) -> bool {
        match self.newest {
            Payload::Unknown => false,
            Payload::Distinct(newest) | Payload::Repeated(newest) => {
                payload_hash(pong) == Some(newest)
            }
        }
    }

    /// Settles the pings that the pong at the beginning of these bytes answers: one, or all if it can
    /// only answer the newest.
    pub(super) fn settle(&mut self, pong: &[u8]) {
        self.expected = self.expected.saturating_sub(1);
        self.count = self.count.saturating_sub(1);
        let are_settled = match self.newest {
            Payload::Unknown => self.are_none(),
            Payload::Distinct(_) => self.newest_is_answered_by(pong),
            Payload::Repeated(_) => self.are_none() && self.newest_is_answered_by(pong),
        };
        if are_settled {
            *self = Self::default();
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

/// The set with this hash alone.
const fn element(hash: u16) -> u16 {
    1 << (hash % 16)
}

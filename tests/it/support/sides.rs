//! The two sides that can send.

use tungstenite::protocol::frame::Frame;
use wsplice::tunnel::Side;

use super::frames::{masked, unmasked};

/// The sides that can send.
pub(crate) const SIDES: [Side; 2] = [Side::Client, Side::Upstream];

pub(crate) const fn opposite(side: Side) -> Side {
    match side {
        Side::Client => Side::Upstream,
        _ => Side::Client,
    }
}

/// The bytes of a frame as this side sends it (RFC 6455 §5.1).
pub(crate) fn from_side(side: Side, frame: Frame) -> Vec<u8> {
    match side {
        Side::Client => masked(frame),
        _ => unmasked(frame),
    }
}

//! Sizes of data messages, added up across fragments.

use super::{header::FrameHeader, opcode::OpCode};

/// Size of the message under way in one direction, for limits.
///
/// The tracker measures and does not validate: a stray continuation continues a message of no
/// bytes, and any other data frame begins a message. [`Rules`](super::Rules) validates.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MessageTracker {
    size: u64,
}

impl MessageTracker {
    /// Starts between two messages.
    pub(crate) const fn new() -> Self {
        Self { size: 0 }
    }

    /// Returns the payload of the message up to the end of this frame, in bytes as on the wire:
    /// compressed if the endpoints compress, without frame headers, saturating. `None` for a
    /// control frame, which is not part of a message even between two fragments (RFC 6455 §5.4).
    #[inline]
    pub(crate) fn track(&mut self, header: &FrameHeader) -> Option<u64> {
        if header.opcode().is_control() {
            return None;
        }
        let begins = header.opcode() != OpCode::CONTINUATION;
        let before = if begins { 0 } else { self.size };
        let size = before.saturating_add(header.payload_len());
        self.size = if header.fin() { 0 } else { size };
        Some(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: OpCode, payload_len: u64) -> FrameHeader {
        FrameHeader::new(opcode, payload_len).unwrap()
    }

    #[test]
    fn a_message_in_one_frame_has_its_size() {
        let mut tracker = MessageTracker::new();
        assert_eq!(tracker.track(&frame(OpCode::TEXT, 5)), Some(5));
        assert_eq!(tracker.track(&frame(OpCode::BINARY, 0)), Some(0));
    }

    #[test]
    fn fragments_add_up_and_control_frames_do_not_rfc6455_5_4() {
        let mut tracker = MessageTracker::new();
        let more = frame(OpCode::CONTINUATION, 20).unfinished();
        let first = frame(OpCode::BINARY, 10).unfinished();
        assert_eq!(tracker.track(&first), Some(10));
        assert_eq!(tracker.track(&frame(OpCode::PING, 125)), None);
        assert_eq!(tracker.track(&more), Some(30));
        assert_eq!(tracker.track(&frame(OpCode::CONTINUATION, 1)), Some(31));
        assert_eq!(tracker.track(&frame(OpCode::TEXT, 7)), Some(7));
    }

    #[test]
    fn the_size_saturates() {
        let mut tracker = MessageTracker::new();
        tracker.track(&frame(OpCode::BINARY, u64::MAX >> 1).unfinished());
        let more = frame(OpCode::CONTINUATION, u64::MAX >> 1).unfinished();
        tracker.track(&more);
        assert_eq!(tracker.track(&more), Some(u64::MAX));
    }

    #[test]
    fn a_broken_sequence_starts_afresh() {
        let mut tracker = MessageTracker::new();
        tracker.track(&frame(OpCode::TEXT, 3));
        let stray = frame(OpCode::CONTINUATION, 4);
        assert_eq!(tracker.track(&stray), Some(4));
        tracker.track(&frame(OpCode::TEXT, 9).unfinished());
        assert_eq!(tracker.track(&frame(OpCode::TEXT, 2)), Some(2));
    }
}

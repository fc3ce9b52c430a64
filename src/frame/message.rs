//! Sizes of data messages, added up across fragments.

use super::{header::FrameHeader, opcode::OpCode};

/// Adds up the frames of one direction into messages, for counters and size limits.
///
/// The tracker measures and does not validate: a stray continuation continues a message of no
/// bytes, and any other data frame begins a message. [`Rules`](super::Rules) validates.
///
/// # Examples
///
/// ```
/// use wsplice::frame::{FrameHeader, MessageTracker, OpCode};
///
/// let mut tracker = MessageTracker::new();
/// let first = FrameHeader::new(OpCode::TEXT, 3)?.unfinished();
/// let ping = FrameHeader::new(OpCode::PING, 8)?;
/// let last = FrameHeader::new(OpCode::CONTINUATION, 2)?;
///
/// let progress = tracker.track(&first).expect("a data frame");
/// assert_eq!((progress.begins, progress.ends, progress.size), (true, false, 3));
/// assert_eq!(tracker.track(&ping), None);
/// let progress = tracker.track(&last).expect("a data frame");
/// assert_eq!((progress.begins, progress.ends, progress.size), (false, true, 5));
/// # Ok::<(), wsplice::frame::HeaderError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MessageTracker {
    size: u64,
}

impl MessageTracker {
    /// Starts between two messages.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0 }
    }

    /// Progress of the message that this frame belongs to; `None` for a control frame, which is not
    /// part of a message even between two fragments (RFC 6455 §5.4).
    #[inline]
    pub fn track(&mut self, header: &FrameHeader) -> Option<MessageProgress> {
        if header.opcode().is_control() {
            return None;
        }
        let begins = header.opcode() != OpCode::CONTINUATION;
        let before = if begins { 0 } else { self.size };
        let size = before.saturating_add(header.payload_len());
        self.size = if header.fin() { 0 } else { size };
        Some(MessageProgress {
            begins,
            ends: header.fin(),
            size,
        })
    }
}

/// The part that one data frame has in its message.
///
/// A message in one frame both begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct MessageProgress {
    /// This is the message's first frame.
    pub begins: bool,
    /// This is the message's last frame; its payload is still to come.
    pub ends: bool,
    /// Payload of the message up to the end of this frame, in bytes as they are on the wire:
    /// compressed if the endpoints compress, without frame headers. Stops at [`u64::MAX`].
    pub size: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: OpCode, payload_len: u64) -> FrameHeader {
        FrameHeader::new(opcode, payload_len).unwrap()
    }

    fn progress(begins: bool, ends: bool, size: u64) -> Option<MessageProgress> {
        Some(MessageProgress { begins, ends, size })
    }

    #[test]
    fn a_message_in_one_frame_begins_and_ends() {
        let mut tracker = MessageTracker::new();
        assert_eq!(
            tracker.track(&frame(OpCode::TEXT, 5)),
            progress(true, true, 5)
        );
        assert_eq!(
            tracker.track(&frame(OpCode::BINARY, 0)),
            progress(true, true, 0)
        );
    }

    #[test]
    fn fragments_add_up_and_control_frames_do_not_rfc6455_5_4() {
        let mut tracker = MessageTracker::new();
        let more = frame(OpCode::CONTINUATION, 20).unfinished();
        let first = frame(OpCode::BINARY, 10).unfinished();
        assert_eq!(tracker.track(&first), progress(true, false, 10));
        assert_eq!(tracker.track(&frame(OpCode::PING, 125)), None);
        assert_eq!(tracker.track(&more), progress(false, false, 30));
        assert_eq!(
            tracker.track(&frame(OpCode::CONTINUATION, 1)),
            progress(false, true, 31)
        );
        assert_eq!(
            tracker.track(&frame(OpCode::TEXT, 7)),
            progress(true, true, 7)
        );
    }

    #[test]
    fn the_size_saturates() {
        let mut tracker = MessageTracker::new();
        tracker.track(&frame(OpCode::BINARY, u64::MAX >> 1).unfinished());
        let more = frame(OpCode::CONTINUATION, u64::MAX >> 1).unfinished();
        tracker.track(&more);
        assert_eq!(tracker.track(&more), progress(false, false, u64::MAX));
    }

    #[test]
    fn a_broken_sequence_starts_afresh() {
        let mut tracker = MessageTracker::new();
        tracker.track(&frame(OpCode::TEXT, 3));
        let stray = frame(OpCode::CONTINUATION, 4);
        assert_eq!(tracker.track(&stray), progress(false, true, 4));
        tracker.track(&frame(OpCode::TEXT, 9).unfinished());
        assert_eq!(
            tracker.track(&frame(OpCode::TEXT, 2)),
            progress(true, true, 2)
        );
    }
}

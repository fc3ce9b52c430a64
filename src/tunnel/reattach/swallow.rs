//! Removal of the first messages of the next upstream, which the client has had from another one.

use crate::frame::{OpCode, Rsv, Scanner};

use super::refusal::ReattachRefusal;

/// Remover of an upstream's first messages. Control frames between them pass.
#[derive(Debug)]
pub(in crate::tunnel) struct Swallow {
    scanner: Scanner,
    /// Messages that are still to be removed.
    messages: usize,
    /// Bytes that these may have.
    room: u64,
    current: Current,
    compression: UpstreamContext,
}

/// Frame that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Current {
    Control,
    /// A fragment of a message, which is not the last.
    Fragment,
    /// The end of a message, or all of it.
    Last,
}

/// Whether an upstream's compressed messages refer to earlier ones (RFC 7692 §7.1.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamContext {
    Kept,
    /// There is no compression, or `server_no_context_takeover` is in force.
    None,
}

impl Swallow {
    /// Removes this many messages, of at most `room` bytes together; `None` if there are none to
    /// remove.
    pub(in crate::tunnel) fn new(
        messages: usize,
        room: usize,
        compression: UpstreamContext,
    ) -> Option<Box<Self>> {
        (messages > 0).then(|| {
            Box::new(Self {
                scanner: Scanner::new(),
                messages,
                room: room as u64,
                current: Current::Control,
                compression,
            })
        })
    }

    /// Whether all messages were removed.
    pub(in crate::tunnel) fn is_over(&self) -> bool {
        self.messages == 0
    }

    /// Removes the messages from the next bytes of the upstream, and returns the number of bytes that
    /// are left at the beginning.
    ///
    /// # Errors
    ///
    /// When a message is over the bound, or the client could not read the ones after it.
    pub(in crate::tunnel) fn remove(&mut self, chunk: &mut [u8]) -> Result<usize, ReattachRefusal> {
        let (mut read, mut kept) = (0, 0);
        while read < chunk.len() {
            if self.scanner.at_boundary() && self.is_over() {
                chunk.copy_within(read.., kept);
                return Ok(kept + chunk.len() - read);
            }
            let len = self.step(chunk.get(read..).unwrap_or_default())?;
            if self.current == Current::Control {
                chunk.copy_within(read..read + len, kept);
                kept += len;
            }
            read += len;
            self.end_if_whole();
        }
        Ok(kept)
    }

    /// Reads the rest of a payload, or a header as far as it has come, and returns its length.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, ReattachRefusal> {
        let mut rest = bytes;
        if self.scanner.remaining() > 0 {
            self.scanner.skip_payload(&mut rest);
            return Ok(bytes.len() - rest.len());
        }
        if let (true, Some(first)) = (self.scanner.at_boundary(), bytes.first()) {
            // The first byte of a header that may be cut.
            self.current = match OpCode::from_bits(*first).is_control() {
                true => Current::Control,
                false => Current::Fragment,
            };
        }
        match self.scanner.next(&mut rest) {
            Ok(Some(header)) if self.current != Current::Control => {
                let is_compressed = header.rsv().bits() & Rsv::RSV1.bits() != 0;
                if is_compressed && self.compression == UpstreamContext::Kept {
                    return Err(ReattachRefusal::SwallowedContext);
                }
                let room = self.room.checked_sub(header.payload_len());
                self.room = room.ok_or(ReattachRefusal::SwallowTooLarge)?;
                if header.fin() {
                    self.current = Current::Last;
                }
            }
            Ok(_) => {}
            // The bytes are no frames: they pass, and end the tunnel's reattachment.
            Err(_) => {
                self.messages = 0;
                self.current = Current::Control;
                self.scanner = Scanner::new();
                return Ok(bytes.len());
            }
        }
        Ok(bytes.len() - rest.len())
    }

    fn end_if_whole(&mut self) {
        if self.current == Current::Last && self.scanner.at_boundary() {
            self.messages = self.messages.saturating_sub(1);
            self.current = Current::Control;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text in two fragments with a ping between them, an empty binary, a pong, a text.
    const STREAM: [u8; 17] = [
        0x01, 1, b'a', 0x89, 1, b'?', 0x80, 1, b'b', 0x82, 0, 0x8A, 0, 0x81, 2, b'c', b'd',
    ];

    fn remove(swallow: &mut Swallow, pieces: [&[u8]; 2]) -> Result<Vec<u8>, ReattachRefusal> {
        let mut left = Vec::new();
        for piece in pieces {
            let mut piece = piece.to_vec();
            let kept = swallow.remove(&mut piece)?;
            left.extend(&piece[..kept]);
        }
        Ok(left)
    }

    #[test]
    fn the_first_messages_are_removed_wherever_the_stream_is_cut() {
        let table: [(usize, &[u8]); 3] = [
            (1, &[0x89, 1, b'?', 0x82, 0, 0x8A, 0, 0x81, 2, b'c', b'd']),
            (2, &[0x89, 1, b'?', 0x8A, 0, 0x81, 2, b'c', b'd']),
            (3, &[0x89, 1, b'?', 0x8A, 0]),
        ];
        for (messages, expected) in table {
            for cut in 0..=STREAM.len() {
                let mut swallow = Swallow::new(messages, 4, UpstreamContext::Kept).unwrap();
                let left = remove(&mut swallow, [&STREAM[..cut], &STREAM[cut..]]);
                assert_eq!(left.unwrap(), expected, "{messages}, cut at {cut}");
                assert!(swallow.is_over());
            }
        }
        assert!(Swallow::new(0, 4, UpstreamContext::Kept).is_none());
    }

    #[test]
    fn messages_over_the_bound_are_refused() {
        let mut swallow = Swallow::new(3, 3, UpstreamContext::None).unwrap();
        let refused = remove(&mut swallow, [&STREAM, &[]]);
        assert_eq!(refused, Err(ReattachRefusal::SwallowTooLarge));
    }

    #[test]
    fn a_compressed_message_that_later_ones_refer_to_is_not_swallowed_rfc7692_7_1_1_1() {
        let compressed = [0xC1, 1, 0];
        for (context, expected) in [
            (
                UpstreamContext::Kept,
                Err(ReattachRefusal::SwallowedContext),
            ),
            (UpstreamContext::None, Ok(vec![])),
        ] {
            let mut swallow = Swallow::new(1, 9, context).unwrap();
            assert_eq!(remove(&mut swallow, [&compressed, &[]]), expected);
        }
    }

    #[test]
    fn bytes_that_are_no_frames_pass() {
        let mut swallow = Swallow::new(1, 9, UpstreamContext::None).unwrap();
        // A control frame of 126 bytes (RFC 6455 §5.5).
        let illegal = [0x89, 126, 0, 126, 7];
        assert_eq!(
            remove(&mut swallow, [&illegal[..1], &illegal[1..]]).unwrap(),
            illegal
        );
    }
}

//! Record of the client's first messages, for the next upstream.

use crate::frame::{FrameHeader, mask, mask_frames};

/// The client's first messages, up to a number and a size.
#[derive(Debug)]
pub(super) struct Recording {
    /// The most messages.
    most: usize,
    /// The most bytes, headers included.
    limit: usize,
    messages: usize,
    /// The messages' frames, unmasked and without the control frames between them.
    frames: Vec<u8>,
    size: Size,
}

/// Whether the messages are within the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Within,
    Over,
}

impl Recording {
    pub(super) const fn new(most: usize, limit: usize) -> Self {
        Self {
            most,
            limit,
            messages: 0,
            frames: Vec::new(),
            size: Size::Within,
        }
    }

    /// Whether the first messages are larger than the limit, so that they cannot be replayed.
    pub(super) fn is_over_limit(&self) -> bool {
        self.size == Size::Over
    }

    /// Returns the messages, masked anew.
    pub(super) fn replay(&self, key: impl FnMut() -> [u8; 4]) -> Vec<u8> {
        mask_frames(&self.frames, key)
    }

    /// Takes the header of a data frame.
    pub(super) fn begin(&mut self, header: &FrameHeader) {
        if !self.is_open() {
            return;
        }
        let unmasked = FrameHeader::new(header.opcode(), header.payload_len());
        let Ok(mut unmasked) = unmasked.map(|unmasked| unmasked.with_rsv(header.rsv())) else {
            return;
        };
        if !header.fin() {
            unmasked = unmasked.unfinished();
        }
        let room = self.limit.saturating_sub(self.frames.len()) as u64;
        if unmasked.frame_len() > room {
            self.size = Size::Over;
            self.frames = Vec::new();
            return;
        }
        self.frames.extend_from_slice(&unmasked.encode());
    }

    /// Takes a piece of the payload of the latest frame, which begins at `offset` in it.
    pub(super) fn payload(&mut self, header: &FrameHeader, piece: &[u8], offset: u64) {
        if !self.is_open() {
            return;
        }
        append_unmasked(&mut self.frames, header, piece, offset);
    }

    /// Notes the end of a data frame.
    pub(super) fn end(&mut self, header: &FrameHeader) {
        if self.is_open() && header.fin() {
            self.messages += 1;
            if self.messages == self.most {
                self.frames.shrink_to_fit();
            }
        }
    }

    /// Whether further messages are recorded.
    fn is_open(&self) -> bool {
        self.messages < self.most && !self.is_over_limit()
    }
}

/// Appends a piece of a frame's payload, without its mask (RFC 6455 §5.3).
pub(super) fn append_unmasked(
    bytes: &mut Vec<u8>,
    header: &FrameHeader,
    piece: &[u8],
    offset: u64,
) {
    let start = bytes.len();
    bytes.extend_from_slice(piece);
    if let (Some(key), Some(piece)) = (header.mask(), bytes.get_mut(start..)) {
        mask::apply(piece, key, offset);
    }
}

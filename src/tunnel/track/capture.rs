//! Copy of one direction's close frame.

use crate::{
    frame::{CloseCode, FrameHeader, mask},
    tunnel::traffic::ReceivedClose,
};

/// The first close frame that a side sent.
#[derive(Debug)]
pub(super) struct Capture {
    header: FrameHeader,
    payload: Vec<u8>,
    destination: Destination,
}

/// Destination of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// The other side.
    Sink,
    /// None: the frame is not forwarded.
    Discarded,
}

impl Capture {
    pub(super) const fn new(header: FrameHeader, destination: Destination) -> Self {
        Self {
            header,
            payload: Vec::new(),
            destination,
        }
    }

    pub(super) const fn destination(&self) -> Destination {
        self.destination
    }

    fn missing(&self) -> usize {
        let expected = usize::try_from(self.header.payload_len()).unwrap_or(usize::MAX);
        expected.saturating_sub(self.payload.len())
    }

    pub(super) fn is_whole(&self) -> bool {
        self.missing() == 0
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        let wanted = self.missing().min(bytes.len());
        self.payload
            .extend_from_slice(bytes.get(..wanted).unwrap_or_default());
    }

    /// Decodes the payload: two bytes of code, then a reason in UTF-8; or nothing at all
    /// (RFC 6455 §5.5.1).
    pub(super) fn seen(&self) -> ReceivedClose {
        let mut payload = self.payload.clone();
        if let Some(key) = self.header.mask() {
            mask::apply(&mut payload, key, 0);
        }
        let (code, reason) = match payload.split_first_chunk() {
            Some((code, reason)) => (Some(CloseCode::new(u16::from_be_bytes(*code))), reason),
            None => (None, &[][..]),
        };
        ReceivedClose {
            code,
            reason: std::str::from_utf8(reason).unwrap_or_default().to_owned(),
        }
    }
}

//! The close frame of one direction, copied as it comes.

use crate::{
    frame::{CloseCode, FrameHeader, mask},
    tunnel::report::ReceivedClose,
};

/// The first close frame that a side sent.
#[derive(Debug)]
pub(super) struct Capture {
    header: FrameHeader,
    payload: Vec<u8>,
    way: Way,
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the other side.
    On,
    Nowhere,
}

impl Capture {
    pub(super) const fn new(header: FrameHeader, way: Way) -> Self {
        Self {
            header,
            payload: Vec::new(),
            way,
        }
    }

    pub(super) const fn way(&self) -> Way {
        self.way
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

    /// RFC 6455 §5.5.1: two bytes of code, then a reason in UTF-8; or nothing at all.
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

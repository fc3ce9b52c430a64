//! Single frames (RFC 6455 §5.2), built and read byte by byte.
//!
//! tungstenite writes them; reading is done here, because a proxy lets pass frames that tungstenite
//! rejects: reserved opcodes and bits.

mod build;

use super::wire::Wire;

pub(crate) use build::{
    MASK, binary, close, fragments, masked, masked_with, odd, ping, pong, text, unmasked,
};

/// A frame that came off the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawFrame {
    /// FIN, RSV1 to RSV3 and the opcode: the first byte as it came.
    pub(crate) first: u8,
    /// The masking key, if there was one.
    pub(crate) mask: Option<[u8; 4]>,
    /// The payload without its mask.
    pub(crate) payload: Vec<u8>,
    /// Every byte of the frame.
    pub(crate) raw: Vec<u8>,
}

impl RawFrame {
    /// The four bits of the opcode.
    pub(crate) fn opcode(&self) -> u8 {
        self.first & 0x0F
    }

    /// Whether the frame is the last one of its message.
    pub(crate) fn is_final(&self) -> bool {
        self.first & 0x80 != 0
    }

    /// The code and reason of a close frame; `None` when it has neither (RFC 6455 §5.5.1).
    pub(crate) fn close(&self) -> Option<(u16, String)> {
        assert_eq!(self.opcode(), 8, "expected a close frame, got {self:?}");
        let (code, reason) = self.payload.split_first_chunk()?;
        let reason = String::from_utf8_lossy(reason).into_owned();
        Some((u16::from_be_bytes(*code), reason))
    }
}

/// The head of a frame that came off the wire.
pub(crate) struct FrameHead {
    first: u8,
    mask: Option<[u8; 4]>,
    /// The length of the payload.
    pub(crate) len: usize,
    raw: Vec<u8>,
}

impl FrameHead {
    /// How many bytes of the head follow its first two.
    pub(crate) fn rest_len(first: &[u8]) -> usize {
        let mask = if first[1] & 0x80 == 0 { 0 } else { 4 };
        match first[1] & 0x7F {
            126 => 2 + mask,
            127 => 8 + mask,
            _ => mask,
        }
    }

    /// Reads a whole head.
    pub(crate) fn new(raw: Vec<u8>) -> Self {
        let (long, mask) = match raw[1] & 0x80 {
            0 => (&raw[2..], None),
            _ => {
                let (long, key) = raw[2..].split_last_chunk().expect("a key");
                (long, Some(*key))
            }
        };
        let len = match long {
            [] => usize::from(raw[1] & 0x7F),
            _ => long
                .iter()
                .fold(0, |len, byte| len << 8 | usize::from(*byte)),
        };
        Self {
            first: raw[0],
            mask,
            len,
            raw,
        }
    }

    /// The frame with this payload, as it came.
    pub(crate) fn with_payload(mut self, mut payload: Vec<u8>) -> RawFrame {
        self.raw.extend_from_slice(&payload);
        if let Some(key) = self.mask {
            for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
                *byte ^= key;
            }
        }
        RawFrame {
            first: self.first,
            mask: self.mask,
            payload,
            raw: self.raw,
        }
    }
}

/// Reads one frame off `wire`, of any kind.
pub(crate) async fn read_frame(wire: &mut Wire) -> RawFrame {
    let mut head = wire.read_exact(2).await.to_vec();
    head.extend(wire.read_exact(FrameHead::rest_len(&head)).await);
    let head = FrameHead::new(head);
    let payload = wire.read_exact(head.len).await.to_vec();
    head.with_payload(payload)
}

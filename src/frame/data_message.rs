//! Data messages that the proxy sends.

use std::fmt;

use bytes::Bytes;

use super::{header::FrameHeader, mask, opcode::OpCode};

/// A whole data message, text or binary (RFC 6455 §5.6).
///
/// # Examples
///
/// ```
/// use wsplice::frame::{Message, OpCode};
///
/// let message = Message::text(r#"{"type":"subscribe","id":"1"}"#);
/// assert_eq!(message.opcode(), OpCode::TEXT);
/// assert_eq!(Message::binary(vec![0xC0, 0x00]).payload(), [0xC0, 0x00]);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    opcode: OpCode,
    payload: Bytes,
}

impl Message {
    /// Creates a text message.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            opcode: OpCode::TEXT,
            payload: text.into().into(),
        }
    }

    /// Creates a binary message.
    #[must_use]
    pub fn binary(payload: impl Into<Bytes>) -> Self {
        Self {
            opcode: OpCode::BINARY,
            payload: payload.into(),
        }
    }

    /// Returns the kind of the message: [`OpCode::TEXT`] or [`OpCode::BINARY`].
    #[must_use]
    pub const fn opcode(&self) -> OpCode {
        self.opcode
    }

    /// Returns the payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Appends the message as one frame, masked if a key is given.
    pub(crate) fn encode_to(&self, bytes: &mut Vec<u8>, key: Option<[u8; 4]>) {
        // No payload in memory is too long for a frame (RFC 6455 §5.2: 63 bits).
        let Ok(header) = FrameHeader::new(self.opcode, self.payload.len() as u64) else {
            return;
        };
        append_frame(bytes, header, &self.payload, key);
    }
}

/// Shows the kind and the size: the payload may be secret.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("opcode", &self.opcode)
            .field("size", &self.payload.len())
            .finish()
    }
}

/// Appends a frame of this unmasked payload, masked if a key is given.
fn append_frame(bytes: &mut Vec<u8>, header: FrameHeader, payload: &[u8], key: Option<[u8; 4]>) {
    let header = key.map_or(header, |key| header.masked(key));
    bytes.extend_from_slice(&header.encode());
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    if let (Some(key), Some(payload)) = (key, bytes.get_mut(start..)) {
        mask::apply(payload, key, 0);
    }
}

/// Masks whole frames that are not masked, each with a key of its own (RFC 6455 §5.3).
pub(crate) fn mask_frames(mut frames: &[u8], mut key: impl FnMut() -> [u8; 4]) -> Vec<u8> {
    let mut masked = Vec::with_capacity(frames.len() + frames.len() / 8);
    while let Ok(Some((header, rest))) = FrameHeader::split(frames) {
        let len = usize::try_from(header.payload_len()).unwrap_or(usize::MAX);
        let (payload, rest) = rest.split_at(len.min(rest.len()));
        append_frame(&mut masked, header, payload, Some(key()));
        frames = rest;
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    #[test]
    fn a_message_is_one_frame_masked_for_an_upstream_rfc6455_5_7() {
        let mut bytes = Vec::new();
        Message::text("Hello").encode_to(&mut bytes, Some(KEY));
        let expected = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(bytes, expected);
        bytes.clear();
        Message::binary(vec![7; 256]).encode_to(&mut bytes, None);
        assert_eq!(bytes[..4], [0x82, 126, 1, 0]);
        assert_eq!(bytes[4..], [7; 256]);
    }

    #[test]
    fn frames_keep_their_bits_and_fragments_when_they_are_masked() {
        // A compressed text in two fragments, then an empty binary.
        let frames = [0x41, 1, b'a', 0x80, 2, b'b', b'c', 0x82, 0];
        let mut keys = [[1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]].into_iter();
        let masked = mask_frames(&frames, || keys.next().unwrap());
        let expected = [
            &[0x41, 0x81, 1, 1, 1, 1, b'a' ^ 1][..],
            &[0x80, 0x82, 2, 2, 2, 2, b'b' ^ 2, b'c' ^ 2],
            &[0x82, 0x80, 3, 3, 3, 3],
        ];
        assert_eq!(masked, expected.concat());
        assert_eq!(keys.next(), None);
    }
}

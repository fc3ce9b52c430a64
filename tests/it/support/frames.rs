//! Single frames (RFC 6455 §5.2), built and read byte by byte.
//!
//! tungstenite writes them; reading is done here, because a proxy lets pass frames that tungstenite
//! rejects: reserved opcodes and bits.

use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use super::wire::Wire;

/// The mask of every frame from the client, unless the test takes another.
pub(crate) const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

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

/// A whole text message.
pub(crate) fn text(text: &str) -> Frame {
    Frame::message(text.to_owned(), OpCode::Data(Data::Text), true)
}

/// A whole binary message.
pub(crate) fn binary(payload: &[u8]) -> Frame {
    Frame::message(payload.to_vec(), OpCode::Data(Data::Binary), true)
}

/// The parts of a text message as frames of their own (RFC 6455 §5.4).
pub(crate) fn fragments(parts: &[&str]) -> Vec<Frame> {
    let mut frames: Vec<_> = parts.iter().copied().map(text).collect();
    for (index, frame) in frames.iter_mut().enumerate() {
        frame.header_mut().is_final = index + 1 == parts.len();
        if index > 0 {
            frame.header_mut().opcode = OpCode::Data(Data::Continue);
        }
    }
    frames
}

/// A frame of any kind, reserved ones included: `first` is its first byte.
pub(crate) fn odd(first: u8, payload: &[u8]) -> Frame {
    let mut frame = binary(payload);
    let header = frame.header_mut();
    header.is_final = first & 0x80 != 0;
    header.rsv1 = first & 0x40 != 0;
    header.rsv2 = first & 0x20 != 0;
    header.rsv3 = first & 0x10 != 0;
    header.opcode = OpCode::from(first & 0x0F);
    frame
}

/// A ping.
pub(crate) fn ping(payload: &[u8]) -> Frame {
    Frame::ping(payload.to_vec())
}

/// A pong.
pub(crate) fn pong(payload: &[u8]) -> Frame {
    Frame::pong(payload.to_vec())
}

/// A close frame with a code and a reason.
pub(crate) fn close(code: u16, reason: &str) -> Frame {
    Frame::close(Some(CloseFrame {
        code: code.into(),
        reason: reason.into(),
    }))
}

/// The bytes of `frame` as a client sends it, masked with [`MASK`].
pub(crate) fn masked(frame: Frame) -> Vec<u8> {
    masked_with(MASK, frame)
}

/// The bytes of `frame` as a client sends it, masked with `mask`.
pub(crate) fn masked_with(mask: [u8; 4], mut frame: Frame) -> Vec<u8> {
    frame.header_mut().mask = Some(mask);
    unmasked(frame)
}

/// The bytes of `frame` as a server sends it.
pub(crate) fn unmasked(frame: Frame) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(frame.len());
    frame.format(&mut bytes).expect("a Vec takes it");
    bytes
}

/// Reads one frame off `wire`, of any kind.
pub(crate) async fn read_frame(wire: &mut Wire) -> RawFrame {
    let mut raw = wire.read_exact(2).await.to_vec();
    let (first, second) = (raw[0], raw[1]);
    let len = match second & 0x7F {
        126 => u64::from(u16::from_be_bytes(take(wire, &mut raw).await)),
        127 => u64::from_be_bytes(take(wire, &mut raw).await),
        short => u64::from(short),
    };
    let mask = match second & 0x80 {
        0 => None,
        _ => Some(take(wire, &mut raw).await),
    };
    let mut payload = wire.read_exact(len as usize).await.to_vec();
    raw.extend_from_slice(&payload);
    if let Some(key) = mask {
        for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
            *byte ^= key;
        }
    }
    RawFrame {
        first,
        mask,
        payload,
        raw,
    }
}

async fn take<const N: usize>(wire: &mut Wire, raw: &mut Vec<u8>) -> [u8; N] {
    let bytes = wire.read_exact(N).await;
    raw.extend_from_slice(&bytes);
    <[u8; N]>::try_from(&bytes[..]).expect("as many as were read")
}

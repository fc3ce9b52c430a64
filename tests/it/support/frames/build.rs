//! Single frames (RFC 6455 §5.2), written by tungstenite.

use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// The mask of every frame from the client, unless the test takes another.
pub(crate) const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

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

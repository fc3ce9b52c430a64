//! HTTP/2 frames (RFC 9113 §4.1), byte by byte.

use bytes::Bytes;

use super::wire::Wire;

/// What a client sends first (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 §6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Flag of `SETTINGS` and `PING` frames.
pub(crate) const ACK: u8 = 1;

/// Flags of `HEADERS` frames; `DATA` frames have the first.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// Settings with `SETTINGS_ENABLE_CONNECT_PROTOCOL` = 1 (RFC 8441 §3).
pub(crate) const EXTENDED_CONNECT: [u8; 6] = [0, 8, 0, 0, 0, 1];

/// Header lines with `:status: 200` alone (RFC 7541, appendix A).
pub(crate) const STATUS_200: [u8; 1] = [0x88];

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Encodes header lines as literals without indexing (RFC 7541 §6.2.2), so that any name passes.
pub(crate) fn encode(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in lines {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A frame of the other side.
#[derive(Debug)]
pub(crate) struct ReceivedFrame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Bytes,
}

/// Reads a frame.
pub(crate) async fn read(wire: &mut Wire) -> ReceivedFrame {
    let head = wire.read_exact(9).await;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    ReceivedFrame {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        payload: wire.read_exact(length as usize).await,
    }
}

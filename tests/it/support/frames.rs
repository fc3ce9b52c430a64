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

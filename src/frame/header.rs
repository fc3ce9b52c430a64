//! Frame headers: parse, build, encode.

use std::{fmt, ops::Deref};

use super::{
    error::HeaderError,
    inline_bytes::InlineBytes,
    opcode::{OpCode, Rsv},
};

/// The longest header, in bytes: two fixed bytes, a 64-bit length, a masking key.
pub const MAX_HEADER_LEN: usize = 2 + 8 + 4;

/// The longest payload of a control frame, in bytes (RFC 6455 §5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// An encoded header, at most [`MAX_HEADER_LEN`] bytes; derefs to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodedHeader(InlineBytes<MAX_HEADER_LEN>);

impl Deref for EncodedHeader {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for EncodedHeader {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const LEN_7: u8 = 0x7F;
/// Value of the 7-bit length that announces a 16-bit one (RFC 6455 §5.2).
const LEN_16: u8 = 126;
/// Value of the 7-bit length that announces a 64-bit one (RFC 6455 §5.2).
const LEN_64: u8 = 127;

/// A frame header (RFC 6455 §5.2).
///
/// The two fixed bytes are kept as they came, so [`encode`](Self::encode) gives back exactly the
/// bytes that were parsed. An illegal length cannot be held.
///
/// # Examples
///
/// ```
/// use wsplice::frame::{FrameHeader, OpCode};
///
/// let header = FrameHeader::parse(&[0x82, 0x7E, 0x01, 0x00])?.expect("four bytes are enough");
/// assert_eq!((header.opcode(), header.payload_len()), (OpCode::BINARY, 256));
/// assert_eq!((header.fin(), header.mask(), header.header_len()), (true, None, 4));
///
/// assert_eq!(FrameHeader::parse(&[0x82, 0x7E, 0x01])?, None, "a length byte is missing");
/// # Ok::<(), wsplice::frame::HeaderError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameHeader {
    payload_len: u64,
    /// Zero unless the mask bit is set in `second`.
    key: [u8; 4],
    first: u8,
    second: u8,
}

impl FrameHeader {
    /// A final, unmasked frame with no reserved bit and the shortest length field.
    ///
    /// # Errors
    ///
    /// When `payload_len`, in bytes, is more than the opcode may carry.
    pub const fn new(opcode: OpCode, payload_len: u64) -> Result<Self, HeaderError> {
        if let Err(error) = check_len(opcode, payload_len) {
            return Err(error);
        }
        let second = match payload_len {
            0..=125 => payload_len as u8,
            126..=0xFFFF => LEN_16,
            _ => LEN_64,
        };
        Ok(Self {
            payload_len,
            key: [0; 4],
            first: FIN | opcode.bits(),
            second,
        })
    }

    /// The header of a control frame with this payload, which its type keeps to 125 bytes.
    pub(super) fn control(opcode: OpCode, payload: &InlineBytes<MAX_CONTROL_PAYLOAD>) -> Self {
        let len = payload.len() as u8;
        Self {
            payload_len: len.into(),
            key: [0; 4],
            first: FIN | opcode.bits(),
            second: len,
        }
    }

    /// The same frame, masked with `key`.
    #[must_use]
    pub const fn masked(self, key: [u8; 4]) -> Self {
        Self {
            key,
            second: self.second | MASKED,
            ..self
        }
    }

    /// The same frame with FIN cleared: more fragments follow.
    #[must_use]
    pub const fn unfinished(self) -> Self {
        Self {
            first: self.first & !FIN,
            ..self
        }
    }

    /// The same frame with exactly these reserved bits.
    #[must_use]
    pub const fn with_rsv(self, rsv: Rsv) -> Self {
        Self {
            first: self.first & !(Rsv::ALL.bits() << 4) | rsv.bits() << 4,
            ..self
        }
    }

    /// Reads the header at the start of `bytes`; `None` when more bytes are needed.
    ///
    /// Looks at [`MAX_HEADER_LEN`] bytes at most. Reserved bits, reserved opcodes and lengths that
    /// are longer than needed pass.
    ///
    /// # Errors
    ///
    /// When the length is illegal, as soon as the last byte of the length field is there.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, HeaderError> {
        Ok(Self::split(bytes)?.map(|(header, _)| header))
    }

    /// [`parse`](Self::parse), with the bytes that follow the header.
    #[inline]
    pub(super) fn split(bytes: &[u8]) -> Result<Option<(Self, &[u8])>, HeaderError> {
        let Some((&[first, second], rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        // A 7-bit length is always legal, so the common case checks nothing.
        let (payload_len, rest) = match second & LEN_7 {
            LEN_16 => {
                let Some((len, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                let len = u64::from(u16::from_be_bytes(*len));
                check_len(OpCode::from_bits(first), len)?;
                (len, rest)
            }
            LEN_64 => {
                let Some((len, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                let len = u64::from_be_bytes(*len);
                check_len(OpCode::from_bits(first), len)?;
                (len, rest)
            }
            len => (u64::from(len), rest),
        };
        let (key, rest) = if second & MASKED == 0 {
            ([0; 4], rest)
        } else {
            let Some((key, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (*key, rest)
        };
        Ok(Some((
            Self {
                payload_len,
                key,
                first,
                second,
            },
            rest,
        )))
    }

    /// Whether this is the last fragment of its message.
    #[inline]
    #[must_use]
    pub const fn fin(&self) -> bool {
        self.first & FIN != 0
    }

    /// The reserved bits.
    #[inline]
    #[must_use]
    pub const fn rsv(&self) -> Rsv {
        Rsv::from_bits(self.first >> 4)
    }

    /// The opcode: the type of the frame.
    #[inline]
    #[must_use]
    pub const fn opcode(&self) -> OpCode {
        OpCode::from_bits(self.first)
    }

    /// The masking key, if the payload is masked (RFC 6455 §5.3).
    #[inline]
    #[must_use]
    pub const fn mask(&self) -> Option<[u8; 4]> {
        if self.second & MASKED == 0 {
            None
        } else {
            Some(self.key)
        }
    }

    /// Length of the payload that follows the header, in bytes, below 2^63.
    #[inline]
    #[must_use]
    pub const fn payload_len(&self) -> u64 {
        self.payload_len
    }

    /// Length of this header on the wire, in bytes: 2 to 14.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> u8 {
        let len = match self.second & LEN_7 {
            LEN_16 => 2 + 2,
            LEN_64 => 2 + 8,
            _ => 2,
        };
        if self.second & MASKED == 0 {
            len
        } else {
            len + 4
        }
    }

    /// Length of the whole frame on the wire, in bytes.
    #[inline]
    #[must_use]
    pub const fn frame_len(&self) -> u64 {
        // Cannot overflow: the payload is below 2^63.
        self.payload_len + self.header_len() as u64
    }

    /// Whether the length is written in the fewest bytes, as RFC 6455 §5.2 demands.
    #[inline]
    #[must_use]
    pub const fn has_minimal_length(&self) -> bool {
        match self.second & LEN_7 {
            LEN_16 => self.payload_len >= LEN_16 as u64,
            LEN_64 => self.payload_len > u16::MAX as u64,
            _ => true,
        }
    }

    /// The header's bytes; of a parsed header, the very bytes that were parsed.
    #[must_use]
    pub fn encode(&self) -> EncodedHeader {
        let mut encoded = InlineBytes::new();
        encoded.push(&[self.first, self.second]);
        match self.second & LEN_7 {
            LEN_16 => encoded.push(&(self.payload_len as u16).to_be_bytes()),
            LEN_64 => encoded.push(&self.payload_len.to_be_bytes()),
            _ => {}
        }
        if let Some(key) = self.mask() {
            encoded.push(&key);
        }
        EncodedHeader(encoded)
    }
}

impl fmt::Debug for FrameHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameHeader")
            .field("fin", &self.fin())
            .field("rsv", &self.rsv())
            .field("opcode", &self.opcode())
            .field("mask", &self.mask())
            .field("payload_len", &self.payload_len)
            .field("header_len", &self.header_len())
            .finish()
    }
}

const fn check_len(opcode: OpCode, payload_len: u64) -> Result<(), HeaderError> {
    // RFC 6455 §5.5: a control frame carries 125 bytes or less.
    if opcode.is_control() && payload_len > MAX_CONTROL_PAYLOAD as u64 {
        return Err(HeaderError::ControlTooLong);
    }
    // RFC 6455 §5.2: the most significant bit of a 64-bit length is 0.
    if payload_len >> 63 != 0 {
        return Err(HeaderError::LengthOver63Bits);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn header(bytes: &[u8]) -> FrameHeader {
        FrameHeader::parse(bytes).unwrap().unwrap()
    }

    fn new(opcode: OpCode, payload_len: u64) -> FrameHeader {
        FrameHeader::new(opcode, payload_len).unwrap()
    }

    #[test]
    fn getters_read_the_wire_bits() {
        let header = header(&[0b0101_0010, 0x80 | 5, 1, 2, 3, 4]);
        assert!(!header.fin());
        assert_eq!(header.rsv(), Rsv::RSV1 | Rsv::RSV3);
        assert_eq!(header.opcode(), OpCode::BINARY);
        assert_eq!(header.mask(), Some([1, 2, 3, 4]));
        assert_eq!((header.payload_len(), header.header_len()), (5, 6));
        assert_eq!(header.frame_len(), 11);
        assert_eq!(header.with_rsv(Rsv::RSV2).rsv(), Rsv::RSV2);
    }

    #[test]
    fn every_proper_prefix_is_incomplete() {
        let longest = new(OpCode::BINARY, 1 << 40).masked(KEY).encode();
        assert_eq!(longest.len(), MAX_HEADER_LEN);
        for len in 0..longest.len() {
            assert_eq!(FrameHeader::parse(&longest[..len]), Ok(None), "{len} bytes");
        }
    }

    #[test]
    fn a_length_of_63_bits_passes_and_of_64_does_not_rfc6455_5_2() {
        let illegal = HeaderError::LengthOver63Bits;
        let max = [0x82, 0x7F, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        assert_eq!(header(&max).payload_len(), u64::MAX >> 1);
        let over = [0x82, 0x7F, 0x80, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(FrameHeader::parse(&over), Err(illegal));
        assert_eq!(FrameHeader::parse(&over[..9]), Ok(None));
        assert_eq!(FrameHeader::new(OpCode::TEXT, 1 << 63), Err(illegal));
    }

    #[test]
    fn a_control_payload_of_126_bytes_is_illegal_rfc6455_5_5() {
        for opcode in 0x8..=0xF {
            let first = FIN | opcode;
            assert_eq!(header(&[first, 125]).payload_len(), 125);
            assert_eq!(FrameHeader::parse(&[first, 126, 0]), Ok(None));
            for illegal in [
                &[first, 126, 0, 126][..],
                &[first, 127, 0, 0, 0, 1, 0, 0, 0, 0],
                // The key need not be there.
                &[first, 0x80 | 126, 1, 0],
            ] {
                let error = Err(HeaderError::ControlTooLong);
                assert_eq!(FrameHeader::parse(illegal), error, "{illegal:x?}");
            }
            let built = FrameHeader::new(OpCode::from_bits(opcode), 126);
            assert_eq!(built, Err(HeaderError::ControlTooLong));
        }
    }

    #[test]
    fn reserved_bits_and_opcodes_pass() {
        for first in 0..=u8::MAX {
            let header = header(&[first, 1]);
            let bits = header.rsv().bits() << 4 | header.opcode().bits();
            assert_eq!(bits, first & !FIN);
        }
    }

    #[test]
    fn a_length_longer_than_needed_passes_and_is_told_apart() {
        let wide = [
            vec![0x82, 126, 0, 125],
            vec![0x82, 127, 0, 0, 0, 0, 0, 0, 0, 0],
            vec![0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
            vec![0x89, 126, 0, 8],
            vec![0x89, 127, 0, 0, 0, 0, 0, 0, 0, 125],
        ];
        for bytes in &wide {
            let header = header(bytes);
            assert!(!header.has_minimal_length(), "{header:?}");
            assert_eq!(*header.encode(), **bytes);
        }
        for len in [0, 125, 126, 127, 0xFFFF, 0x1_0000] {
            assert!(new(OpCode::BINARY, len).has_minimal_length(), "{len}");
        }
    }

    #[test]
    fn fits_two_registers() {
        assert_eq!(size_of::<FrameHeader>(), 16);
    }
}

//! The first header byte: the opcode and the three reserved bits.

use std::{
    fmt,
    ops::{BitAnd, BitOr, Not},
};

/// The type of a frame: the low four bits of its first byte (RFC 6455 §5.2).
///
/// All sixteen values exist; ten of them are reserved and pass through the proxy like the others.
///
/// # Examples
///
/// ```
/// use wsplice::frame::OpCode;
///
/// assert!(OpCode::PING.is_control());
/// assert_eq!(OpCode::from_bits(0x2), OpCode::BINARY);
/// assert_eq!(OpCode::from_bits(0xB).to_string(), "reserved 0xb");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpCode(u8);

impl OpCode {
    /// A further fragment of the message that is open.
    pub const CONTINUATION: Self = Self(0x0);
    /// The first or only fragment of a text message.
    pub const TEXT: Self = Self(0x1);
    /// The first or only fragment of a binary message.
    pub const BINARY: Self = Self(0x2);
    /// Starts or answers the closing handshake (RFC 6455 §5.5.1).
    pub const CLOSE: Self = Self(0x8);
    /// Asks for a pong (RFC 6455 §5.5.2).
    pub const PING: Self = Self(0x9);
    /// Answers a ping, or comes unasked (RFC 6455 §5.5.3).
    pub const PONG: Self = Self(0xA);

    /// Takes the low four bits of `bits`, such as a frame's first byte.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0x0F)
    }

    /// The value on the wire, `0x0..=0xF`.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether this is a control opcode, known or reserved: `0x8..=0xF` (RFC 6455 §5.5).
    #[inline]
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & 0x08 != 0
    }

    /// Whether RFC 6455 §5.2 leaves the meaning open: `0x3..=0x7` and `0xB..=0xF`.
    #[inline]
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        matches!(self.0, 0x3..=0x7 | 0xB..=0xF)
    }
}

impl OpCode {
    /// The type as a [slug](crate#slugs); `reserved` for each opcode without a meaning.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CONTINUATION => "continuation",
            Self::TEXT => "text",
            Self::BINARY => "binary",
            Self::CLOSE => "close",
            Self::PING => "ping",
            Self::PONG => "pong",
            _ => "reserved",
        }
    }
}

impl fmt::Display for OpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self.is_reserved() {
            true => write!(f, " {:#x}", self.0),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for OpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpCode({self})")
    }
}

/// The three reserved bits of a frame, which extensions give a meaning (RFC 6455 §5.2).
///
/// Held in the low three bits, in wire order. permessage-deflate uses [`Rsv::RSV1`]
/// (RFC 7692 §6).
///
/// # Examples
///
/// ```
/// use wsplice::frame::Rsv;
///
/// let seen = Rsv::RSV1 | Rsv::RSV3;
/// assert_eq!(seen.bits(), 0b101);
/// assert_eq!(seen & !Rsv::RSV1, Rsv::RSV3);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rsv(u8);

impl Rsv {
    /// No bit.
    pub const NONE: Self = Self(0b000);
    /// The first bit after FIN.
    pub const RSV1: Self = Self(0b100);
    /// The second bit after FIN.
    pub const RSV2: Self = Self(0b010);
    /// The third bit after FIN.
    pub const RSV3: Self = Self(0b001);
    /// Every bit, for extensions that are not known here.
    pub const ALL: Self = Self(0b111);

    /// Takes the low three bits of `bits`.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0b111)
    }

    /// The bits, `0b000..=0b111`.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether no bit is set.
    #[inline]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Rsv {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Rsv {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Rsv {
    type Output = Self;

    fn not(self) -> Self {
        Self::from_bits(!self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_half_is_control_rfc6455_5_5() {
        for bits in 0x0..=0xF {
            assert_eq!(
                OpCode::from_bits(bits).is_control(),
                bits >= 0x8,
                "{bits:#x}"
            );
        }
    }

    #[test]
    fn ten_opcodes_are_reserved_rfc6455_5_2() {
        let known = [0x0, 0x1, 0x2, 0x8, 0x9, 0xA];
        for bits in 0x0..=0xF {
            assert_eq!(
                OpCode::from_bits(bits).is_reserved(),
                !known.contains(&bits),
                "{bits:#x}"
            );
        }
    }

    #[test]
    fn bits_outside_the_field_are_dropped() {
        assert_eq!(OpCode::from_bits(0x81), OpCode::TEXT);
        assert_eq!(Rsv::from_bits(0b1010), Rsv::RSV2);
        assert_eq!(!Rsv::ALL, Rsv::NONE);
    }

    #[test]
    fn opcodes_have_names() {
        assert_eq!(OpCode::CONTINUATION.to_string(), "continuation");
        assert_eq!(format!("{:?}", OpCode::PONG), "OpCode(pong)");
        assert_eq!(OpCode::from_bits(0x3).to_string(), "reserved 0x3");
    }
}

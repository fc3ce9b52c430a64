//! Errors of frame headers and control frames.

use std::{error, fmt};

use super::opcode::OpCode;

/// An illegal header; the frames after it cannot be located.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeaderError {
    /// A 64-bit length with its most significant bit set (RFC 6455 §5.2).
    LengthOver63Bits,
    /// A control frame with more than 125 bytes of payload (RFC 6455 §5.5).
    ControlTooLong,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LengthOver63Bits => "the payload length takes more than 63 bits",
            Self::ControlTooLong => "the payload of a control frame is longer than 125 bytes",
        })
    }
}

impl error::Error for HeaderError {}

/// Why bytes are not a control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ControlError {
    /// The header is illegal, or would be.
    Header(HeaderError),
    /// The opcode is that of a data frame.
    NotControl(OpCode),
}

impl From<HeaderError> for ControlError {
    fn from(error: HeaderError) -> Self {
        Self::Header(error)
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(error) => error.fmt(f),
            Self::NotControl(opcode) => write!(f, "a {opcode} frame is not a control frame"),
        }
    }
}

// No `source`: the text of the header's error is already this error's own.
impl error::Error for ControlError {}

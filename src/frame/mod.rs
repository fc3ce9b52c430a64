//! WebSocket framing over `&[u8]`: where frames begin and end, and how to write a control frame.
//!
//! A tunnel copies bytes and never decodes a payload. To put a ping or a close between two frames
//! it only has to know where the frames lie, so everything here works on headers and on the
//! control frames, which are small. There is no io, no clock and no allocation.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-----+-------+-+-------------+-------------------------------+
//! |F| RSV |opcode |M| length (7)  |  length, if it needs 16 or 64 |
//! |I|1 2 3| (4)   |A|             |  bits (2 or 8 bytes)          |
//! |N|     |       |S|             |                               |
//! +-+-----+-------+K+-------------+---------------+---------------+
//! | masking key (4 bytes), if M   |  payload, skipped unread ...  |
//! +-------------------------------+-------------------------------+
//! ```
//!
//! | you want to | take |
//! |---|---|
//! | follow a stream, cut anywhere | [`Scanner`]; the part of a header at the end of the input: [`Scanner::cut_header`] |
//! | read or write one header | [`FrameHeader`], which encodes to an [`EncodedHeader`]; [`OpCode`] |
//! | read or set the bits of extensions | [`FrameHeader::rsv`], [`FrameHeader::with_rsv`], [`Rsv`] |
//! | know whether a frame is one of RFC 6455 | [`OpCode::is_reserved`], [`FrameHeader::has_minimal_length`] |
//! | look into a pong or a close, or build one | [`ControlFrame`], which encodes to an [`EncodedControl`]; [`CloseCode`] |
//! | know whether a close has half a status code | [`ControlFrame::is_malformed_close`] |
//! | size a buffer | [`MAX_HEADER_LEN`], [`MAX_CONTROL_PAYLOAD`], [`MAX_CONTROL_LEN`] |
//! | send a message when a tunnel gets another upstream | [`Message`] |
//! | mask or unmask bytes | [`mask::apply`] |
//!
//! # Where checks are made
//!
//! [`Scanner`] and [`FrameHeader`] reject only lengths that make the stream unreadable or a control
//! frame unholdable: above 63 bits, and a control payload above 125 bytes ([`HeaderError`]).
//! Reserved bits, reserved opcodes and lengths longer than needed pass, as two endpoints may have
//! agreed on them. A tunnel with [`Framing::Enforce`](crate::tunnel::Framing::Enforce) rejects them too, and
//! reports the [`Violation`].
//!
//! # Examples
//!
//! ```
//! use wsplice::frame::{OpCode, Scanner};
//!
//! let mut scanner = Scanner::new();
//!
//! // An unmasked "Hello", cut after its third letter (RFC 6455 §5.7).
//! let mut input: &[u8] = &[0x81, 0x05, b'H', b'e', b'l'];
//! let header = scanner.next(&mut input)?.expect("the header is whole");
//! assert_eq!(header.opcode(), OpCode::TEXT);
//! assert_eq!(scanner.next(&mut input)?, None);
//! assert_eq!(scanner.remaining(), 2);
//!
//! let mut input: &[u8] = b"lo";
//! assert_eq!(scanner.next(&mut input)?, None);
//! assert!(scanner.at_boundary(), "a control frame may be written here");
//! # Ok::<(), wsplice::frame::HeaderError>(())
//! ```

mod close_code;
mod close_frame;
mod control;
mod data_message;
mod error;
mod extensions;
mod header;
mod inline_bytes;
pub mod mask;
mod message;
mod opcode;
mod rules;
mod scanner;

#[cfg(test)]
mod tests;

pub use self::{
    close_code::CloseCode,
    close_frame::CloseFrame,
    control::{ControlFrame, EncodedControl, MAX_CONTROL_LEN},
    data_message::Message,
    error::{ControlError, HeaderError},
    extensions::Extensions,
    header::{EncodedHeader, FrameHeader, MAX_CONTROL_PAYLOAD, MAX_HEADER_LEN},
    opcode::{OpCode, Rsv},
    rules::Violation,
    scanner::Scanner,
};
pub(crate) use self::{data_message::mask_frames, message::MessageTracker, rules::Rules};

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

mod close_code;
mod control;
mod error;
mod header;
mod inline_bytes;
pub mod mask;
mod message;
mod opcode;
mod rules;
mod scanner;

pub use self::{
    close_code::CloseCode,
    control::{ControlFrame, EncodedControl, MAX_CONTROL_LEN},
    error::{ControlError, HeaderError},
    header::{EncodedHeader, FrameHeader, MAX_CONTROL_PAYLOAD, MAX_HEADER_LEN},
    inline_bytes::InlineBytes,
    message::{MessageProgress, MessageTracker},
    opcode::{OpCode, Rsv},
    rules::{Rules, Violation},
    scanner::Scanner,
};

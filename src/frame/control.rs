//! Control frames: parse one that arrived, build one to send.

use std::ops::Deref;

use super::{
    close_code::CloseCode,
    error::ControlError,
    header::{FrameHeader, MAX_CONTROL_PAYLOAD, MAX_HEADER_LEN},
    inline_bytes::InlineBytes,
    mask,
    opcode::OpCode,
};

/// The longest control frame on the wire, in bytes, with its length in the longest form.
pub const MAX_CONTROL_LEN: usize = MAX_HEADER_LEN + MAX_CONTROL_PAYLOAD;

/// The longest control frame that is built here: its length always fits the second byte.
const MAX_ENCODED: usize = 2 + 4 + MAX_CONTROL_PAYLOAD;

/// An encoded control frame, at most 131 bytes; derefs to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodedControl(InlineBytes<MAX_ENCODED>);

impl Deref for EncodedControl {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for EncodedControl {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// The opcode and the unmasked payload of one control frame (RFC 6455 §5.5).
///
/// A value of 127 bytes that borrows nothing. FIN, the reserved bits and the masking key of a
/// parsed frame are not kept; look at its [`FrameHeader`] for those.
///
/// # Examples
///
/// ```
/// use wsplice::frame::{CloseCode, ControlFrame};
///
/// let close = ControlFrame::close(CloseCode::GOING_AWAY, "bye");
/// let wire = close.encode(Some([1, 2, 3, 4]));
///
/// let (parsed, len) = ControlFrame::parse(&wire)?.expect("it is whole");
/// assert_eq!((parsed, len), (close, wire.len()));
/// assert_eq!(parsed.close_code(), Some(CloseCode::GOING_AWAY));
/// assert_eq!(parsed.close_reason(), Some("bye"));
/// # Ok::<(), wsplice::frame::ControlError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlFrame {
    opcode: OpCode,
    payload: InlineBytes<MAX_CONTROL_PAYLOAD>,
}

impl ControlFrame {
    /// A control frame of any kind.
    ///
    /// # Errors
    ///
    /// When `opcode` is not a control opcode, or `payload` is longer than
    /// [`MAX_CONTROL_PAYLOAD`].
    pub fn new(opcode: OpCode, payload: &[u8]) -> Result<Self, ControlError> {
        if !opcode.is_control() {
            return Err(ControlError::NotControl(opcode));
        }
        FrameHeader::new(opcode, payload.len() as u64)?;
        Ok(Self::truncating(opcode, payload))
    }

    /// A ping (RFC 6455 §5.5.2). A payload above 125 bytes does not compile.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::frame::ControlFrame;
    ///
    /// let ping = ControlFrame::ping(&0x1122_3344_5566_7788_u64.to_be_bytes());
    /// assert_eq!(ping.encode(None)[..4], [0x89, 8, 0x11, 0x22]);
    /// ```
    #[must_use]
    pub fn ping<const N: usize>(payload: &[u8; N]) -> Self {
        const { assert!(N <= MAX_CONTROL_PAYLOAD) }
        Self::truncating(OpCode::PING, payload)
    }

    /// A pong (RFC 6455 §5.5.3). A payload above 125 bytes does not compile.
    ///
    /// To answer a ping, which must echo its payload, see [`answer`](Self::answer).
    #[must_use]
    pub fn pong<const N: usize>(payload: &[u8; N]) -> Self {
        const { assert!(N <= MAX_CONTROL_PAYLOAD) }
        Self::truncating(OpCode::PONG, payload)
    }

    /// A close with a code and a reason (RFC 6455 §5.5.1).
    ///
    /// A reason above 123 bytes is cut at a character boundary. When `code` [may not be
    /// sent](CloseCode::is_sendable) the body is left empty, which means "no code".
    #[must_use]
    pub fn close(code: CloseCode, reason: &str) -> Self {
        let mut frame = Self::truncating(OpCode::CLOSE, &[]);
        if code.is_sendable() {
            frame.payload.push(&code.as_u16().to_be_bytes());
            frame
                .payload
                .push(truncate(reason, MAX_CONTROL_PAYLOAD - 2).as_bytes());
        }
        frame
    }

    /// The pong that answers this ping; `None` when this frame is not a ping.
    #[must_use]
    pub fn answer(&self) -> Option<Self> {
        // RFC 6455 §5.5.3: a pong carries the payload of the ping that it answers.
        (self.opcode == OpCode::PING).then_some(Self {
            opcode: OpCode::PONG,
            ..*self
        })
    }

    /// Reads the control frame at the start of `bytes`, with its length on the wire in bytes, at
    /// most [`MAX_CONTROL_LEN`]. `None` when more bytes are needed.
    ///
    /// # Errors
    ///
    /// When the header is illegal or announces a data frame.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, ControlError> {
        let Some((header, rest)) = FrameHeader::split(bytes)? else {
            return Ok(None);
        };
        if !header.opcode().is_control() {
            return Err(ControlError::NotControl(header.opcode()));
        }
        // At most 125, which the header has checked.
        let len = header.payload_len() as usize;
        let Some(payload) = rest.get(..len) else {
            return Ok(None);
        };
        let mut frame = Self::truncating(header.opcode(), payload);
        if let Some(key) = header.mask() {
            mask::apply(frame.payload.as_mut_slice(), key, 0);
        }
        Ok(Some((frame, usize::from(header.header_len()) + len)))
    }

    /// The frame's bytes: FIN set, no reserved bit, masked if a key is given.
    ///
    /// Frames to a server are masked and frames to a client are not (RFC 6455 §5.1).
    #[must_use]
    pub fn encode(&self, mask: Option<[u8; 4]>) -> EncodedControl {
        let mut header = FrameHeader::control(self.opcode, &self.payload);
        let mut payload = self.payload;
        if let Some(key) = mask {
            header = header.masked(key);
            mask::apply(payload.as_mut_slice(), key, 0);
        }
        let mut encoded = InlineBytes::new();
        encoded.push(&header.encode());
        encoded.push(&payload);
        EncodedControl(encoded)
    }

    /// The opcode.
    #[must_use]
    pub const fn opcode(&self) -> OpCode {
        self.opcode
    }

    /// The payload, unmasked.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The status code of a close; `None` when it has none, is malformed, or is not a close.
    #[must_use]
    pub fn close_code(&self) -> Option<CloseCode> {
        let (code, _) = self.close_body()?;
        Some(code)
    }

    /// The reason of a close; `None` when there is no code, or the reason is not UTF-8.
    ///
    /// Empty when a code comes without a reason.
    #[must_use]
    pub fn close_reason(&self) -> Option<&str> {
        let (_, reason) = self.close_body()?;
        std::str::from_utf8(reason).ok()
    }

    /// Whether this is a close whose body has one byte, which is half a status code
    /// (RFC 6455 §5.5.1).
    #[must_use]
    pub fn is_malformed_close(&self) -> bool {
        self.opcode == OpCode::CLOSE && self.payload.len() == 1
    }

    /// RFC 6455 §5.5.1: the body of a close, if any, starts with a two-byte code.
    fn close_body(&self) -> Option<(CloseCode, &[u8])> {
        if self.opcode != OpCode::CLOSE {
            return None;
        }
        let (code, reason) = self.payload().split_first_chunk()?;
        Some((CloseCode::new(u16::from_be_bytes(*code)), reason))
    }

    fn truncating(opcode: OpCode, payload: &[u8]) -> Self {
        let mut frame = Self {
            opcode,
            payload: InlineBytes::new(),
        };
        frame.payload.push(payload);
        frame
    }
}

/// The longest start of `text` that has at most `max` bytes and ends between two characters.
fn truncate(text: &str, max: usize) -> &str {
    let end = (0..=max)
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or_default();
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{super::error::HeaderError, *};

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn parse(bytes: &[u8]) -> (ControlFrame, usize) {
        ControlFrame::parse(bytes).unwrap().unwrap()
    }

    fn close(body: &[u8]) -> ControlFrame {
        ControlFrame::new(OpCode::CLOSE, body).unwrap()
    }

    #[test]
    fn the_ping_and_the_masked_pong_of_rfc6455_5_7() {
        let ping = [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        let pong = [
            0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(*ControlFrame::ping(b"Hello").encode(None), ping);
        assert_eq!(*ControlFrame::pong(b"Hello").encode(Some(KEY)), pong);
        assert_eq!(parse(&ping), (ControlFrame::ping(b"Hello"), 7));
        assert_eq!(parse(&pong), (ControlFrame::pong(b"Hello"), 11));
    }

    #[test]
    fn a_pong_echoes_its_ping_rfc6455_5_5_3() {
        assert_eq!(
            ControlFrame::ping(b"Hello").answer(),
            Some(ControlFrame::pong(b"Hello"))
        );
        assert_eq!(ControlFrame::pong(b"Hello").answer(), None);
    }

    #[test]
    fn every_proper_prefix_is_incomplete() {
        let wire = ControlFrame::close(CloseCode::NORMAL, "done").encode(Some(KEY));
        for len in 0..wire.len() {
            assert_eq!(ControlFrame::parse(&wire[..len]), Ok(None), "{len} bytes");
        }
    }

    #[test]
    fn takes_its_own_bytes_and_no_more() {
        let (frame, len) = parse(&[0x8A, 0x01, 7, 0x81, 0x00]);
        assert_eq!((frame.payload(), len), (&[7][..], 3));
    }

    #[test]
    fn the_longest_frame_fits_the_array() {
        let longest = close(&[0xAB; MAX_CONTROL_PAYLOAD]);
        let wire = longest.encode(Some(KEY));
        assert_eq!(wire.len(), MAX_ENCODED);
        assert_eq!(parse(&wire), (longest, MAX_ENCODED));
    }

    #[test]
    fn a_length_longer_than_needed_is_read() {
        let mut wire = vec![0x89, 127, 0, 0, 0, 0, 0, 0, 0, 125];
        wire.extend([7; MAX_CONTROL_PAYLOAD]);
        assert_eq!(parse(&wire), (ControlFrame::ping(&[7; 125]), 135));
        assert!(wire.len() + 4 <= MAX_CONTROL_LEN);
    }

    #[test]
    fn data_frames_and_illegal_headers_are_errors() {
        let text = ControlError::NotControl(OpCode::TEXT);
        let long = ControlError::Header(HeaderError::ControlTooLong);
        assert_eq!(ControlFrame::parse(&[0x81, 0x00]), Err(text));
        assert_eq!(ControlFrame::parse(&[0x89, 126, 0, 126]), Err(long));
        assert_eq!(ControlFrame::new(OpCode::TEXT, b""), Err(text));
        assert_eq!(ControlFrame::new(OpCode::PING, &[0; 126]), Err(long));
        assert_eq!(text.to_string(), "a text frame is not a control frame");
    }

    #[test]
    fn a_close_without_a_body_has_no_code_rfc6455_5_5_1() {
        let close = close(&[]);
        assert_eq!((close.close_code(), close.close_reason()), (None, None));
        assert!(!close.is_malformed_close());
    }

    #[test]
    fn a_close_with_half_a_code_is_malformed_rfc6455_5_5_1() {
        let close = close(&[3]);
        assert_eq!((close.close_code(), close.close_reason()), (None, None));
        assert!(close.is_malformed_close());
    }

    #[test]
    fn a_close_has_a_code_and_perhaps_a_reason_rfc6455_5_5_1() {
        let bare = close(&[0x03, 0xE9]);
        assert_eq!(bare.close_code(), Some(CloseCode::GOING_AWAY));
        assert_eq!(bare.close_reason(), Some(""));

        let broken = close(&[0x03, 0xE9, 0xFF]);
        assert_eq!(broken.close_code(), Some(CloseCode::GOING_AWAY));
        assert_eq!(broken.close_reason(), None, "the reason is not UTF-8");
    }

    #[test]
    fn only_a_close_has_a_code() {
        let ping = ControlFrame::ping(&[0x03, 0xE9]);
        assert_eq!((ping.close_code(), ping.close_reason()), (None, None));
        assert!(!ControlFrame::ping(&[3]).is_malformed_close());
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reason = |text: &str| {
            let close = ControlFrame::close(CloseCode::NORMAL, text);
            close.close_reason().map(str::to_owned)
        };
        let fits = "x".repeat(123);
        assert_eq!(reason(&fits), Some(fits.clone()));
        assert_eq!(reason(&(fits.clone() + "y")), Some(fits));
        // 41 three-byte characters take 123 bytes; with one byte before them, 40 fit.
        assert_eq!(reason(&"€".repeat(60)), Some("€".repeat(41)));
        assert_eq!(
            reason(&("x".to_owned() + &"€".repeat(60))),
            Some("x".to_owned() + &"€".repeat(40))
        );
    }

    #[test]
    fn a_code_that_may_not_be_sent_leaves_the_body_empty_rfc6455_7_4_1() {
        for code in [
            CloseCode::NO_STATUS,
            CloseCode::ABNORMAL,
            CloseCode::TLS_HANDSHAKE,
        ] {
            assert_eq!(
                *ControlFrame::close(code, "why").encode(None),
                [0x88, 0x00],
                "{code}"
            );
        }
    }

    #[test]
    fn is_small() {
        assert_eq!(size_of::<ControlFrame>(), 127);
    }
}

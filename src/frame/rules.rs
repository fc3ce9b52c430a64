//! Validation of one side's frames against RFC 6455, from headers alone.

use std::{error, fmt};

use super::{
    error::HeaderError,
    header::FrameHeader,
    opcode::{OpCode, Rsv},
};

/// Strict protocol rules for one direction of a tunnel.
///
/// The rules check every header of that direction in order. They are three bytes and never read a
/// payload, so text that is not UTF-8 and the code inside a close pass. A tunnel that enforces them
/// closes with 1002 on any [`Violation`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    masking: Masking,
    negotiated: Rsv,
    stage: Stage,
}

/// Whether frames of this direction must be masked (RFC 6455 §5.1).
#[derive(Clone, Copy, Debug)]
enum Masking {
    Required,
    Forbidden,
}

/// The data frames that may come next.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// A data frame starts a message.
    BetweenMessages,
    /// A data frame continues the message that is open.
    InMessage,
    /// No data frame may come.
    Closed,
}

impl Rules {
    /// Rules for the frames of the client.
    ///
    /// `negotiated` are the reserved bits that the extensions agreed on in the handshake use:
    /// [`Rsv::NONE`] without an extension, [`Rsv::ALL`] for extensions that are not known.
    pub(crate) const fn client_to_upstream(negotiated: Rsv) -> Self {
        Self {
            masking: Masking::Required,
            negotiated,
            stage: Stage::BetweenMessages,
        }
    }

    /// Rules for the frames of the upstream; for `negotiated` see
    /// [`client_to_upstream`](Self::client_to_upstream).
    pub(crate) const fn upstream_to_client(negotiated: Rsv) -> Self {
        Self {
            masking: Masking::Forbidden,
            negotiated,
            stage: Stage::BetweenMessages,
        }
    }

    /// Checks the next frame.
    ///
    /// # Errors
    ///
    /// The first rule that the frame breaks. The frame then counts as not sent.
    #[inline]
    pub(crate) fn check(&mut self, header: &FrameHeader) -> Result<(), Violation> {
        self.check_form(header)?;
        if header.opcode().is_control() {
            self.check_control(header)
        } else {
            self.check_data(header)
        }
    }

    /// The rules for every frame by itself.
    fn check_form(&self, header: &FrameHeader) -> Result<(), Violation> {
        // RFC 6455 §5.1: a client masks every frame, a server masks none.
        match (self.masking, header.mask()) {
            (Masking::Required, None) => return Err(Violation::Unmasked),
            (Masking::Forbidden, Some(_)) => return Err(Violation::Masked),
            _ => {}
        }
        // RFC 6455 §5.2: a reserved bit is zero unless an extension gave it a meaning.
        let stray = header.rsv() & !self.negotiated;
        if !stray.is_none() {
            return Err(Violation::ReservedBits(stray));
        }
        // RFC 6455 §5.2: a receiver fails the connection on an opcode that it does not know.
        if header.opcode().is_reserved() {
            return Err(Violation::ReservedOpCode(header.opcode()));
        }
        // RFC 6455 §5.2: the length is written in the fewest bytes.
        if !header.has_minimal_length() {
            return Err(Violation::LengthNotMinimal);
        }
        Ok(())
    }

    fn check_control(&mut self, header: &FrameHeader) -> Result<(), Violation> {
        // RFC 6455 §5.5: control frames are not fragmented.
        if !header.fin() {
            return Err(Violation::FragmentedControl(header.opcode()));
        }
        if header.opcode() == OpCode::CLOSE {
            // RFC 6455 §5.5.1: the body of a close is empty or starts with a two-byte code.
            if header.payload_len() == 1 {
                return Err(Violation::HalfCloseCode);
            }
            // BetweenMessages | InMessage => Closed: an open message stays unfinished.
            self.stage = Stage::Closed;
        }
        Ok(())
    }

    fn check_data(&mut self, header: &FrameHeader) -> Result<(), Violation> {
        let continues = header.opcode() == OpCode::CONTINUATION;
        match self.stage {
            // RFC 6455 §5.4: a continuation has a message to continue.
            Stage::BetweenMessages if continues => return Err(Violation::StrayContinuation),
            // RFC 6455 §5.4: the fragments of two messages are not interleaved.
            Stage::InMessage if !continues => {
                return Err(Violation::InterruptedMessage(header.opcode()));
            }
            // RFC 6455 §5.5.1: no data frame follows a close.
            Stage::Closed => return Err(Violation::DataAfterClose),
            // BetweenMessages | InMessage => InMessage | BetweenMessages
            Stage::BetweenMessages | Stage::InMessage => {
                self.stage = if header.fin() {
                    Stage::BetweenMessages
                } else {
                    Stage::InMessage
                };
            }
        }
        Ok(())
    }
}

/// The rule that a frame broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// The header is illegal (RFC 6455 §5.2, §5.5).
    Header(HeaderError),
    /// A client's frame has no mask (RFC 6455 §5.1).
    Unmasked,
    /// An upstream's frame has a mask (RFC 6455 §5.1).
    Masked,
    /// These reserved bits are set though no extension uses them (RFC 6455 §5.2).
    ReservedBits(Rsv),
    /// The opcode has no meaning (RFC 6455 §5.2).
    ReservedOpCode(OpCode),
    /// The length is written in more bytes than it needs (RFC 6455 §5.2).
    LengthNotMinimal,
    /// A control frame lacks FIN (RFC 6455 §5.5).
    FragmentedControl(OpCode),
    /// A close has a body of one byte (RFC 6455 §5.5.1).
    HalfCloseCode,
    /// A continuation came while no message was open (RFC 6455 §5.4).
    StrayContinuation,
    /// A frame of this kind came while another message was open (RFC 6455 §5.4).
    InterruptedMessage(OpCode),
    /// A data frame came after a close (RFC 6455 §5.5.1).
    DataAfterClose,
}

impl Violation {
    /// The rule as a [slug](crate#slugs), without its values: `reserved_bits`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Header(_) => "header",
            Self::Unmasked => "unmasked",
            Self::Masked => "masked",
            Self::ReservedBits(_) => "reserved_bits",
            Self::ReservedOpCode(_) => "reserved_opcode",
            Self::LengthNotMinimal => "length_not_minimal",
            Self::FragmentedControl(_) => "fragmented_control",
            Self::HalfCloseCode => "half_close_code",
            Self::StrayContinuation => "stray_continuation",
            Self::InterruptedMessage(_) => "interrupted_message",
            Self::DataAfterClose => "data_after_close",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(error) => error.fmt(f),
            Self::Unmasked => f.write_str("a frame from the client is not masked"),
            Self::Masked => f.write_str("a frame from the upstream is masked"),
            Self::ReservedBits(rsv) => {
                write!(
                    f,
                    "reserved bits {:03b} are set without an extension",
                    rsv.bits()
                )
            }
            Self::ReservedOpCode(opcode) => {
                write!(f, "the opcode {:#x} is reserved", opcode.bits())
            }
            Self::LengthNotMinimal => {
                f.write_str("a payload length takes more bytes than it needs")
            }
            Self::FragmentedControl(opcode) => write!(f, "a {opcode} frame is fragmented"),
            Self::HalfCloseCode => f.write_str("the body of a close frame is a single byte"),
            Self::StrayContinuation => f.write_str("a continuation frame continues no message"),
            Self::InterruptedMessage(opcode) => {
                write!(
                    f,
                    "a {opcode} frame came before the end of a fragmented message"
                )
            }
            Self::DataAfterClose => f.write_str("a data frame follows a close frame"),
        }
    }
}

impl error::Error for Violation {}

impl From<HeaderError> for Violation {
    fn from(error: HeaderError) -> Self {
        Self::Header(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [1, 2, 3, 4];

    fn frame(opcode: OpCode) -> FrameHeader {
        FrameHeader::new(opcode, 2).unwrap()
    }

    fn parsed(bytes: &[u8]) -> FrameHeader {
        FrameHeader::parse(bytes).unwrap().unwrap()
    }

    /// The verdict on the last of some frames from the upstream, the others being legal.
    fn verdict(frames: &[FrameHeader]) -> Result<(), Violation> {
        let mut rules = Rules::upstream_to_client(Rsv::NONE);
        let (last, others) = frames.split_last().unwrap();
        for frame in others {
            assert_eq!(rules.check(frame), Ok(()), "{frame:?}");
        }
        rules.check(last)
    }

    #[test]
    fn the_client_masks_and_the_upstream_does_not_rfc6455_5_1() {
        let plain = frame(OpCode::PING);
        let mut client = Rules::client_to_upstream(Rsv::NONE);
        assert_eq!(client.check(&plain), Err(Violation::Unmasked));
        assert_eq!(client.check(&plain.masked(KEY)), Ok(()));
        let mut upstream = Rules::upstream_to_client(Rsv::NONE);
        assert_eq!(upstream.check(&plain.masked(KEY)), Err(Violation::Masked));
        assert_eq!(upstream.check(&plain), Ok(()));
    }

    #[test]
    fn reserved_bits_need_an_extension_rfc6455_5_2() {
        let seen = frame(OpCode::TEXT).with_rsv(Rsv::RSV1 | Rsv::RSV3);
        let mut rules = Rules::upstream_to_client(Rsv::RSV1);
        assert_eq!(rules.check(&seen), Err(Violation::ReservedBits(Rsv::RSV3)));
        assert_eq!(rules.check(&seen.with_rsv(Rsv::RSV1)), Ok(()));
        assert_eq!(Rules::upstream_to_client(Rsv::ALL).check(&seen), Ok(()));
    }

    #[test]
    fn reserved_opcodes_are_refused_rfc6455_5_2() {
        for bits in (0x3..=0x7).chain(0xB..=0xF) {
            let opcode = OpCode::from_bits(bits);
            assert_eq!(
                verdict(&[frame(opcode)]),
                Err(Violation::ReservedOpCode(opcode))
            );
        }
    }

    #[test]
    fn a_length_takes_the_fewest_bytes_rfc6455_5_2() {
        assert_eq!(
            verdict(&[parsed(&[0x82, 126, 0, 125])]),
            Err(Violation::LengthNotMinimal)
        );
        assert_eq!(verdict(&[parsed(&[0x82, 126, 0, 126])]), Ok(()));
        let wide = parsed(&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]);
        assert_eq!(verdict(&[wide]), Err(Violation::LengthNotMinimal));
        assert_eq!(
            verdict(&[parsed(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0])]),
            Ok(())
        );
    }

    #[test]
    fn control_frames_are_whole_rfc6455_5_5() {
        for opcode in [OpCode::CLOSE, OpCode::PING, OpCode::PONG] {
            let refused = Err(Violation::FragmentedControl(opcode));
            assert_eq!(verdict(&[frame(opcode).unfinished()]), refused);
        }
    }

    #[test]
    fn fragments_follow_each_other_rfc6455_5_4() {
        let first = frame(OpCode::TEXT).unfinished();
        let more = frame(OpCode::CONTINUATION).unfinished();
        let last = frame(OpCode::CONTINUATION);
        let ping = frame(OpCode::PING);

        assert_eq!(
            verdict(&[first, ping, more, ping, last, frame(OpCode::BINARY)]),
            Ok(())
        );
        assert_eq!(verdict(&[last]), Err(Violation::StrayContinuation));
        assert_eq!(
            verdict(&[first, last, more]),
            Err(Violation::StrayContinuation)
        );
        let interrupted = Err(Violation::InterruptedMessage(OpCode::BINARY));
        assert_eq!(verdict(&[first, frame(OpCode::BINARY)]), interrupted);
        assert_eq!(
            verdict(&[first, more, ping, frame(OpCode::BINARY)]),
            interrupted
        );
    }

    #[test]
    fn a_refused_frame_changes_nothing() {
        let mut rules = Rules::upstream_to_client(Rsv::NONE);
        assert_eq!(rules.check(&frame(OpCode::TEXT).unfinished()), Ok(()));
        assert!(rules.check(&frame(OpCode::TEXT)).is_err());
        assert_eq!(rules.check(&frame(OpCode::CONTINUATION)), Ok(()));
    }

    #[test]
    fn no_data_follows_a_close_rfc6455_5_5_1() {
        let close = frame(OpCode::CLOSE);
        let open = frame(OpCode::TEXT).unfinished();
        let refused = Err(Violation::DataAfterClose);
        assert_eq!(verdict(&[close, frame(OpCode::TEXT)]), refused);
        assert_eq!(
            verdict(&[open, close, frame(OpCode::CONTINUATION)]),
            refused
        );
        assert_eq!(
            verdict(&[close, frame(OpCode::PONG)]),
            Ok(()),
            "control frames may"
        );
    }

    #[test]
    fn a_close_body_is_not_one_byte_rfc6455_5_5_1() {
        assert_eq!(
            verdict(&[parsed(&[0x88, 1])]),
            Err(Violation::HalfCloseCode)
        );
        assert_eq!(verdict(&[parsed(&[0x88, 0])]), Ok(()));
        assert_eq!(verdict(&[parsed(&[0x89, 1])]), Ok(()));
    }

    #[test]
    fn violations_speak_in_sentences() {
        assert_eq!(
            Violation::ReservedBits(Rsv::RSV2).to_string(),
            "reserved bits 010 are set without an extension",
        );
        assert_eq!(
            Violation::ReservedOpCode(OpCode::from_bits(0xB)).to_string(),
            "the opcode 0xb is reserved",
        );
        assert_eq!(
            Violation::InterruptedMessage(OpCode::TEXT).to_string(),
            "a text frame came before the end of a fragmented message",
        );
    }
}

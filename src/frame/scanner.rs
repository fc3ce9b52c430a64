//! Frame scanner: locates the headers in a stream that arrives in pieces.

use super::{
    error::HeaderError,
    header::{FrameHeader, MAX_HEADER_LEN},
};

/// Follows one direction of a tunnel from header to header, whatever the cuts.
///
/// Payload is skipped without being read, so the work is a few instructions a frame and none a
/// byte. The state is 24 bytes: a header that was cut and the payload still to come.
///
/// # Examples
///
/// ```
/// use wsplice::frame::{OpCode, Scanner};
///
/// let mut scanner = Scanner::new();
/// let mut opcodes = Vec::new();
///
/// // "Hi", then a ping whose header is cut in two.
/// for piece in [&[0x81, 0x02, b'H', b'i', 0x89][..], &[0x00]] {
///     let mut input = piece;
///     while let Some(header) = scanner.next(&mut input)? {
///         opcodes.push(header.opcode());
///     }
/// }
/// assert_eq!(opcodes, [OpCode::TEXT, OpCode::PING]);
/// assert!(scanner.at_boundary());
/// # Ok::<(), wsplice::frame::HeaderError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Scanner {
    remaining: u64,
    /// The first `cut_len` bytes of a header whose rest has not arrived.
    cut: [u8; MAX_HEADER_LEN],
    cut_len: u8,
    /// Set only while `cut_len` is not zero, which spares the fast path a test.
    lost: Option<HeaderError>,
}

impl Scanner {
    /// Starts at the beginning of a frame.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            remaining: 0,
            cut: [0; MAX_HEADER_LEN],
            cut_len: 0,
            lost: None,
        }
    }

    /// Skips the payload still to come, then reads the next header and takes it off `input`.
    ///
    /// Returns `None` when `input` is used up; a header that was cut is kept, and completed by the
    /// next input. After `Some`, `input` begins with the first byte of that frame's payload.
    ///
    /// # Errors
    ///
    /// When a header is illegal. `input` is then left at the last byte of the header's length
    /// field, at the same place of the stream for every way to cut it. The scanner has lost its
    /// place for good: every further call returns the same error, and it is never [at a
    /// boundary](Self::at_boundary).
    #[inline]
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<FrameHeader>, HeaderError> {
        if self.remaining != 0 {
            self.skip_payload(input);
        }
        if self.cut_len == 0 {
            if let Ok(Some((header, rest))) = FrameHeader::split(input) {
                self.remaining = header.payload_len();
                *input = rest;
                return Ok(Some(header));
            }
        }
        // Passing the slice by value lets it stay in registers while the caller loops.
        let (event, rest) = self.next_from_cut(input);
        *input = rest;
        event
    }

    /// Whether the stream is exactly between two frames: no payload is to come and no header is
    /// cut. Only here may a control frame be put into the stream.
    #[inline]
    #[must_use]
    pub const fn at_boundary(&self) -> bool {
        self.remaining == 0 && self.cut_len == 0
    }

    /// Payload still to come of the frame announced last, in bytes.
    ///
    /// Payload that [`next`](Self::next) has not yet been called to skip counts as to come.
    #[inline]
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The bytes of a header that was cut: up to 13, empty when none was.
    ///
    /// They were the last bytes of the input. The first of them carries the opcode, which shows
    /// whether a control frame is on its way.
    #[inline]
    #[must_use]
    pub fn cut_header(&self) -> &[u8] {
        self.cut
            .get(..usize::from(self.cut_len))
            .unwrap_or_default()
    }

    /// Skips the payload still to come, without looking at what follows it.
    #[inline]
    pub fn skip_payload(&mut self, input: &mut &[u8]) {
        // The minimum is at most the slice's length, so the cast loses nothing.
        let skipped = self.remaining.min(input.len() as u64) as usize;
        self.remaining -= skipped as u64;
        *input = input.get(skipped..).unwrap_or_default();
    }

    /// Reads a header that is cut or illegal byte by byte, at most 14 of them, so that the outcome
    /// cannot depend on where the cuts are.
    #[cold]
    #[inline(never)]
    fn next_from_cut<'a>(
        &mut self,
        mut input: &'a [u8],
    ) -> (Result<Option<FrameHeader>, HeaderError>, &'a [u8]) {
        if let Some(error) = self.lost {
            return (Err(error), input);
        }
        while let Some((byte, rest)) = input.split_first() {
            let held = usize::from(self.cut_len);
            if let Some(slot) = self.cut.get_mut(held) {
                *slot = *byte;
            }
            match FrameHeader::parse(self.cut.get(..=held).unwrap_or_default()) {
                Ok(None) => {
                    self.cut_len += 1;
                    input = rest;
                }
                Ok(Some(header)) => {
                    self.cut_len = 0;
                    self.remaining = header.payload_len();
                    return (Ok(Some(header)), rest);
                }
                Err(error) => {
                    self.lost = Some(error);
                    return (Err(error), input);
                }
            }
        }
        (Ok(None), input)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::opcode::OpCode, *};

    /// A masked text, a ping, 300 bytes of binary, an empty final continuation.
    fn stream() -> Vec<u8> {
        let mut stream = vec![
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        stream.extend([0x89, 0x01, 0xAA]);
        stream.extend([0x02, 126, 0x01, 0x2C]);
        stream.extend([0xFF; 300]);
        stream.extend([0x80, 0x00]);
        stream
    }

    fn headers(scanner: &mut Scanner, mut input: &[u8]) -> Vec<FrameHeader> {
        let mut headers = Vec::new();
        while let Some(header) = scanner.next(&mut input).unwrap() {
            headers.push(header);
        }
        assert!(input.is_empty(), "None means used up");
        headers
    }

    #[test]
    fn finds_every_header_and_ends_at_a_boundary() {
        let mut scanner = Scanner::new();
        let opcodes: Vec<_> = headers(&mut scanner, &stream())
            .iter()
            .map(FrameHeader::opcode)
            .collect();
        let expected = [
            OpCode::TEXT,
            OpCode::PING,
            OpCode::BINARY,
            OpCode::CONTINUATION,
        ];
        assert_eq!(opcodes, expected);
        assert!(scanner.at_boundary());
    }

    #[test]
    fn two_cuts_anywhere_change_nothing() {
        let stream = stream();
        let whole = headers(&mut Scanner::new(), &stream);
        for a in 0..stream.len() {
            for b in a..stream.len() {
                let mut scanner = Scanner::new();
                let mut cut = headers(&mut scanner, &stream[..a]);
                cut.extend(headers(&mut scanner, &stream[a..b]));
                cut.extend(headers(&mut scanner, &stream[b..]));
                assert_eq!(cut, whole, "cut at {a} and {b}");
                assert!(scanner.at_boundary(), "cut at {a} and {b}");
            }
        }
    }

    #[test]
    fn is_at_a_boundary_only_between_frames() {
        let stream = stream();
        let ends = [0, 11, 14, 318, 320];
        let mut scanner = Scanner::new();
        for (position, byte) in stream.iter().enumerate() {
            assert_eq!(
                scanner.at_boundary(),
                ends.contains(&position),
                "at {position}"
            );
            headers(&mut scanner, &[*byte]);
        }
        assert!(scanner.at_boundary());
    }

    #[test]
    fn stops_at_the_payload_and_counts_what_is_to_come() {
        let mut scanner = Scanner::new();
        let mut input: &[u8] = &[0x82, 0x04, 1, 2, 3];
        scanner.next(&mut input).unwrap().unwrap();
        assert_eq!((input, scanner.remaining()), (&[1, 2, 3][..], 4));
        assert_eq!(scanner.next(&mut input), Ok(None));
        assert_eq!((input, scanner.remaining()), (&[][..], 1));
        assert!(!scanner.at_boundary());
    }

    #[test]
    fn shows_the_header_that_was_cut() {
        let mut scanner = Scanner::new();
        headers(&mut scanner, &[0x81, 0x00, 0x8A, 0x88, 7]);
        assert_eq!(scanner.cut_header(), [0x8A, 0x88, 7]);
        headers(&mut scanner, &[7, 7, 7]);
        assert!(scanner.cut_header().is_empty());
        assert_eq!(scanner.remaining(), 8);
    }

    #[test]
    fn an_empty_input_changes_nothing() {
        let mut scanner = Scanner::new();
        assert_eq!(scanner.next(&mut &[][..]), Ok(None));
        assert!(scanner.at_boundary());
        headers(&mut scanner, &[0x82]);
        assert_eq!(scanner.next(&mut &[][..]), Ok(None));
        assert_eq!(scanner.cut_header(), [0x82]);
    }

    #[test]
    fn an_illegal_header_stops_at_its_last_length_byte_and_sticks() {
        let illegal = [0x81, 0x00, 0x89, 126, 0, 126, 9, 9];
        for cut in 0..=5 {
            let mut scanner = Scanner::new();
            headers(&mut scanner, &illegal[..cut]);
            let mut input = &illegal[cut..];
            let error = loop {
                match scanner.next(&mut input) {
                    Ok(header) => assert!(header.is_some(), "cut at {cut}"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error, HeaderError::ControlTooLong);
            assert_eq!(input, [126, 9, 9], "cut at {cut}");
            assert!(!scanner.at_boundary());
            // With this byte in place of the refused one, the header would be legal.
            assert_eq!(scanner.next(&mut &[125][..]), Err(error));
        }
    }

    #[test]
    fn the_longest_payload_is_skipped_without_overflow() {
        let mut scanner = Scanner::new();
        let mut input: &[u8] = &[0x82, 127, 0x7F, 255, 255, 255, 255, 255, 255, 255, 0, 0];
        scanner.next(&mut input).unwrap().unwrap();
        assert_eq!(scanner.next(&mut input), Ok(None));
        assert_eq!(scanner.remaining(), (u64::MAX >> 1) - 2);
    }

    #[test]
    fn is_small() {
        assert!(size_of::<Scanner>() <= 24, "{} bytes", size_of::<Scanner>());
    }
}

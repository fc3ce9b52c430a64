//! Position in a stream of frames, as far as messages are concerned.

use crate::frame::Scanner;

/// Position in a stream of frames.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::tunnel) struct Position {
    pub(super) scanner: Scanner,
    /// Whether a message has begun and not ended: the data frame that came last lacks FIN.
    pub(super) in_message: bool,
}

impl Position {
    /// Moves over these bytes.
    pub(in crate::tunnel) fn advance(&mut self, mut bytes: &[u8]) {
        while let Ok(Some(header)) = self.scanner.next(&mut bytes) {
            if !header.opcode().is_control() {
                self.in_message = !header.fin();
            }
        }
    }

    /// Returns how many of these bytes come before the end of the message that is under way here, or of
    /// the next one: all of them if neither ends in them.
    pub(in crate::tunnel) fn message_end(mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        loop {
            let before = rest.len();
            self.scanner.skip_payload(&mut rest);
            // After a frame of which a part came before, too.
            let has_moved = rest.len() < before || rest.len() < bytes.len();
            if has_moved && self.is_between_messages() {
                return bytes.len() - rest.len();
            }
            match self.scanner.next(&mut rest) {
                Ok(Some(header)) if !header.opcode().is_control() => {
                    self.in_message = !header.fin();
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return bytes.len(),
            }
        }
    }

    /// Whether the position is between two messages, and not inside a control frame.
    pub(in crate::tunnel) const fn is_between_messages(&self) -> bool {
        self.scanner.at_boundary() && !self.in_message
    }
}

/// Returns the bytes without their control frames. The bytes begin at a frame boundary, and may end
/// inside a data frame, or its header.
pub(in crate::tunnel) fn data_frames(bytes: &[u8]) -> Vec<u8> {
    let (mut scanner, mut rest) = (Scanner::new(), bytes);
    let mut kept = Vec::new();
    loop {
        let frame = rest;
        match scanner.next(&mut rest) {
            Ok(Some(header)) => {
                scanner.skip_payload(&mut rest);
                if !header.opcode().is_control() {
                    let len = frame.len() - rest.len();
                    kept.extend_from_slice(frame.get(..len).unwrap_or_default());
                }
            }
            Ok(None) | Err(_) => {
                kept.extend_from_slice(frame);
                return kept;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text in two fragments with a ping between them, then a pong.
    const STREAM: [u8; 12] = [0x01, 1, b'a', 0x89, 1, b'?', 0x80, 1, b'b', 0x8A, 1, b'!'];

    #[test]
    fn positions_between_messages_are_recognized() {
        let between: Vec<_> = (0..=STREAM.len())
            .filter(|len| {
                let mut position = Position::default();
                position.advance(&STREAM[..*len]);
                position.is_between_messages()
            })
            .collect();
        assert_eq!(between, [0, 9, 12]);
    }

    #[test]
    fn a_position_does_not_depend_on_the_cuts() {
        for cut in 0..STREAM.len() {
            let mut position = Position::default();
            position.advance(&STREAM[..cut]);
            position.advance(&STREAM[cut..]);
            assert!(position.is_between_messages(), "cut at {cut}");
        }
    }

    #[test]
    fn the_end_of_a_message_is_found_from_every_position() {
        let twice = STREAM.repeat(2);
        for start in 0..STREAM.len() {
            let mut position = Position::default();
            position.advance(&twice[..start]);
            let expected = match start {
                0..=8 => 9,
                _ => 12,
            };
            assert_eq!(
                start + position.message_end(&twice[start..]),
                expected,
                "{start}"
            );
            let cut = &twice[start..expected - 1];
            assert_eq!(position.message_end(cut), cut.len(), "{start}");
        }
    }

    #[test]
    fn control_frames_are_left_out_and_cut_data_frames_stay() {
        let data = [0x01, 1, b'a', 0x80, 1, b'b'];
        assert_eq!(data_frames(&STREAM), data);
        for cut in [7, 8] {
            let expected = [&data[..3], &STREAM[6..cut]].concat();
            assert_eq!(data_frames(&STREAM[..cut]), expected);
        }
        assert!(data_frames(&[]).is_empty());
    }
}

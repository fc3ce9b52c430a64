//! Reader of the client's messages that an upstream has taken.

use crate::frame::{FrameHeader, Scanner};

use super::{
    recording::Recording,
    settings::Reattach,
    tap::{ClientMessage, Collector},
};

/// Reader of the client's messages in the bytes that an upstream has taken, for the replay and for
/// the tap.
///
/// Messages that wait for the next upstream have not been taken: they reach it by themselves, and
/// would come twice if they were replayed, or restored by the host.
#[derive(Debug)]
pub(super) struct Delivery {
    scanner: Scanner,
    /// The data frame whose payload is being read.
    frame: Option<FrameHeader>,
    recording: Option<Recording>,
    collector: Option<Collector>,
}

impl Delivery {
    /// The reader that these settings need, if they need one.
    pub(super) fn of(settings: &Reattach) -> Option<Box<Self>> {
        let recording = settings.recording();
        let collector = settings.message_tap().map(Collector::new);
        let is_needed = recording.is_some() || collector.is_some();
        is_needed.then(|| {
            Box::new(Self {
                scanner: Scanner::new(),
                frame: None,
                recording,
                collector,
            })
        })
    }

    pub(super) const fn recording(&self) -> Option<&Recording> {
        self.recording.as_ref()
    }

    /// Takes the messages for the tap.
    pub(super) fn take_messages(&mut self) -> Vec<ClientMessage> {
        let collector = self.collector.as_mut();
        collector.map(Collector::take).unwrap_or_default()
    }

    /// Begins with the next upstream, at the beginning of a frame.
    pub(super) fn restart(&mut self) {
        self.scanner = Scanner::new();
        self.frame = None;
    }

    /// Reads the next bytes that the upstream has taken. Bytes that are not frames are not read.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        loop {
            let (before, remaining) = (bytes, self.scanner.remaining());
            self.scanner.skip_payload(&mut bytes);
            let len = before.len() - bytes.len();
            self.payload(before.get(..len).unwrap_or_default(), remaining);
            if bytes.is_empty() {
                return;
            }
            match self.scanner.next(&mut bytes) {
                Ok(Some(header)) => self.begin(header),
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn begin(&mut self, header: FrameHeader) {
        if header.opcode().is_control() {
            return;
        }
        if let Some(recording) = &mut self.recording {
            recording.begin(&header);
        }
        if let Some(collector) = &mut self.collector {
            collector.begin(&header);
        }
        self.frame = Some(header);
        self.end_if_whole();
    }

    /// Takes a piece of payload, of which `remaining` bytes were to come before.
    fn payload(&mut self, piece: &[u8], remaining: u64) {
        let Some(header) = self.frame.filter(|_| !piece.is_empty()) else {
            return;
        };
        let offset = header.payload_len().saturating_sub(remaining);
        if let Some(recording) = &mut self.recording {
            recording.payload(&header, piece, offset);
        }
        if let Some(collector) = &mut self.collector {
            collector.payload(&header, piece, offset);
        }
        self.end_if_whole();
    }

    fn end_if_whole(&mut self) {
        if self.scanner.remaining() > 0 {
            return;
        }
        let Some(header) = self.frame.take() else {
            return;
        };
        if let Some(recording) = &mut self.recording {
            recording.end(&header);
        }
        if let Some(collector) = &mut self.collector {
            collector.end(&header);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::OpCode;

    const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

    /// A frame of a client.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
        frame.extend(KEY);
        frame.extend(
            payload
                .iter()
                .enumerate()
                .map(|(at, byte)| byte ^ KEY[at % 4]),
        );
        frame
    }

    /// A text in two fragments with a ping between them, a compressed binary, a text.
    fn stream() -> Vec<u8> {
        [
            frame(0x01, b"first, "),
            frame(0x89, b"?"),
            frame(0x80, b"in two parts"),
            frame(0xC2, b"\x01\x02\x03"),
            frame(0x81, b"last"),
        ]
        .concat()
    }

    fn settings() -> Reattach {
        Reattach::new().replay(2).tap(10, |_, _| {})
    }

    #[test]
    fn messages_are_read_wherever_the_stream_is_cut() {
        let stream = stream();
        let replayed = [
            &[0x01, 7][..],
            b"first, ",
            &[0x80, 12],
            b"in two parts",
            &[0xC2, 3, 1, 2, 3],
        ]
        .concat();
        for cut in 0..=stream.len() {
            let mut delivery = Delivery::of(&settings()).unwrap();
            delivery.read(&stream[..cut]);
            delivery.read(&stream[cut..]);
            let recording = delivery.recording().unwrap();
            assert!(!recording.is_over_limit());
            assert_eq!(
                unmasked(&recording.replay(|| KEY)),
                replayed,
                "cut at {cut}"
            );
            let messages = delivery.take_messages();
            let seen: Vec<_> = messages
                .iter()
                .map(|message| (message.opcode(), message.size(), message.bytes()))
                .collect();
            let expected = [
                (OpCode::TEXT, 19, &b"first, in "[..]),
                (OpCode::BINARY, 3, b""),
                (OpCode::TEXT, 4, b"last"),
            ];
            assert_eq!(seen, expected, "cut at {cut}");
            assert_eq!(
                messages
                    .iter()
                    .map(ClientMessage::is_whole)
                    .collect::<Vec<_>>(),
                [false, false, true]
            );
            assert!(messages[1].is_compressed());
            assert!(delivery.take_messages().is_empty());
        }
    }

    /// Frames of a client without their masks.
    fn unmasked(mut bytes: &[u8]) -> Vec<u8> {
        let mut frames = Vec::new();
        while let Some((&[first, second], rest)) = bytes.split_first_chunk() {
            let (key, rest) = rest.split_at(4);
            let (payload, rest) = rest.split_at(usize::from(second & 0x7F));
            frames.extend([first, second & 0x7F]);
            frames.extend(
                payload
                    .iter()
                    .zip(key.iter().cycle())
                    .map(|(byte, key)| byte ^ key),
            );
            bytes = rest;
        }
        frames
    }

    #[test]
    fn messages_over_the_bound_are_not_kept() {
        for (bound, is_over) in [(23, true), (24, true), (28, false)] {
            let mut delivery = Delivery::of(&settings().max_replayed(bound)).unwrap();
            delivery.read(&stream());
            let recording = delivery.recording().unwrap();
            assert_eq!(recording.is_over_limit(), is_over, "{bound}");
            assert_eq!(recording.replay(|| KEY).is_empty(), is_over);
        }
    }

    #[test]
    fn nothing_is_read_unless_it_is_wanted() {
        assert!(Delivery::of(&Reattach::new()).is_none());
        assert!(Delivery::of(&Reattach::new().replay(0)).is_none());
    }
}

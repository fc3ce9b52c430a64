//! Tests that span the module: the examples of the RFC, and properties with tungstenite as the
//! oracle.

use std::io::Cursor;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::select, test_runner::RngSeed};
use tungstenite::protocol::frame::{Frame, FrameHeader as OracleHeader, coding};

use super::{
    CloseCode, ControlFrame, FrameHeader, HeaderError, MAX_CONTROL_LEN, MessageTracker, OpCode,
    Rsv, Rules, Scanner, mask,
};

#[test]
fn the_examples_of_rfc6455_5_7() {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let new = |opcode, len| FrameHeader::new(opcode, len).unwrap();
    let (text, ping) = (new(OpCode::TEXT, 5), new(OpCode::PING, 5));
    let (hel, lo) = (
        new(OpCode::TEXT, 3).unfinished(),
        new(OpCode::CONTINUATION, 2),
    );
    let masked = [0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let binary = [0xB5; 65536];

    let examples = [
        // A single-frame unmasked text message, then the same, masked.
        (&[0x81, 0x05][..], &b"Hello"[..], text, &b"Hello"[..]),
        (&[0x81, 0x85], &masked, text.masked(KEY), b"Hello"),
        // A fragmented unmasked text message.
        (&[0x01, 0x03], b"Hel", hel, b"Hel"),
        (&[0x80, 0x02], b"lo", lo, b"lo"),
        // An unmasked ping and the masked pong that answers it.
        (&[0x89, 0x05], b"Hello", ping, b"Hello"),
        (
            &[0x8a, 0x85],
            &masked,
            new(OpCode::PONG, 5).masked(KEY),
            b"Hello",
        ),
        // 256 bytes, then 64 KiB of binary in a single unmasked frame.
        (
            &[0x82, 0x7E, 0x01, 0x00],
            &binary[..256],
            new(OpCode::BINARY, 256),
            &binary[..256],
        ),
        (
            &[0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0],
            &binary,
            new(OpCode::BINARY, 65536),
            &binary,
        ),
    ];
    for (start, rest, header, payload) in examples {
        let mut wire = [start, rest].concat();
        assert_eq!(FrameHeader::parse(&wire), Ok(Some(header)));
        assert!(wire.starts_with(&header.encode()));

        let seen = &mut wire[usize::from(header.header_len())..];
        mask::apply(seen, header.mask().unwrap_or_default(), 0);
        assert_eq!(seen, payload);
    }
}

/// The same cases in every run, unless `PROPTEST_RNG_SEED` is set.
fn config() -> ProptestConfig {
    let mut config = ProptestConfig::default();
    if matches!(config.rng_seed, RngSeed::Random) {
        config.rng_seed = RngSeed::Fixed(6455);
    }
    config
}

type Key = Option<[u8; 4]>;

/// One frame to be written by the oracle.
#[derive(Clone, Debug)]
struct Spec {
    fin: bool,
    opcode: OpCode,
    len: usize,
    key: Key,
}

/// The lengths around which the length field changes its form.
fn data_len() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => select(vec![0, 1, 2, 124, 125, 126, 127, 128]),
        8 => 0..600_usize,
        1 => select(vec![65534, 65535, 65536, 65537]),
    ]
}

fn control() -> impl Strategy<Value = (OpCode, usize)> {
    (
        select(vec![OpCode::PING, OpCode::PONG]),
        select(vec![0, 1, 8, 124, 125]),
    )
}

/// One message: its fragments, each followed by some control frames.
fn message() -> impl Strategy<Value = Vec<(OpCode, usize, bool)>> {
    let fragment = (data_len(), vec(control(), 0..3));
    (
        select(vec![OpCode::TEXT, OpCode::BINARY]),
        vec(fragment, 1..4),
    )
        .prop_map(|(opcode, parts)| {
            let last = parts.len() - 1;
            let mut frames = Vec::new();
            for (i, (len, controls)) in parts.into_iter().enumerate() {
                let opcode = if i == 0 { opcode } else { OpCode::CONTINUATION };
                frames.push((opcode, len, i == last));
                frames.extend(
                    controls
                        .into_iter()
                        .map(|(opcode, len)| (opcode, len, true)),
                );
            }
            frames
        })
}

/// Legal frames of one direction, masked or not, with or without a close at the end.
fn legal_frames() -> impl Strategy<Value = Vec<Spec>> {
    let close = select(vec![None, Some(0), Some(2), Some(125)]);
    (vec(message(), 0..5), close, any::<Key>()).prop_map(|(messages, close, key)| {
        let frames = messages.into_iter().flatten();
        let close = close.map(|len| (OpCode::CLOSE, len, true));
        // A key per frame, as clients have it.
        let key_of = |i: usize| key.map(|key| key.map(|byte| byte.wrapping_add(i as u8)));
        frames
            .chain(close)
            .enumerate()
            .map(|(i, (opcode, len, fin))| Spec {
                fin,
                opcode,
                len,
                key: key_of(i),
            })
            .collect()
    })
}

fn written_by_oracle(frames: &[Spec]) -> Vec<u8> {
    let mut stream = Vec::new();
    for spec in frames {
        let header = OracleHeader {
            is_final: spec.fin,
            opcode: coding::OpCode::from(spec.opcode.bits()),
            mask: spec.key,
            ..OracleHeader::default()
        };
        // Bytes that look like headers, if the scanner should ever read them.
        let payload = Bytes::from(vec![0x89; spec.len]);
        Frame::from_payload(header, payload)
            .format(&mut stream)
            .unwrap();
    }
    stream
}

/// Fields as both sides know them: FIN, reserved bits, opcode, key, payload length.
type Fields = (bool, u8, u8, Key, u64);

fn fields(header: &FrameHeader) -> Fields {
    let (rsv, opcode) = (header.rsv().bits(), header.opcode().bits());
    (
        header.fin(),
        rsv,
        opcode,
        header.mask(),
        header.payload_len(),
    )
}

fn oracle_fields((header, len): &(OracleHeader, u64)) -> Fields {
    let rsv = u8::from(header.rsv1) << 2 | u8::from(header.rsv2) << 1 | u8::from(header.rsv3);
    (
        header.is_final,
        rsv,
        header.opcode.into(),
        header.mask,
        *len,
    )
}

/// The headers that the oracle reads: the end of each, and its fields.
fn read_by_oracle(stream: &[u8]) -> Vec<(u64, Fields)> {
    let mut cursor = Cursor::new(stream);
    let mut headers = Vec::new();
    while let Some(header) = OracleHeader::parse(&mut cursor).unwrap() {
        headers.push((cursor.position(), oracle_fields(&header)));
        cursor.set_position(cursor.position() + header.1);
    }
    headers
}

type Event = Result<FrameHeader, HeaderError>;

/// Scans a stream that is cut into pieces of these lengths, over and over. Returns each event with
/// its position in the stream, and ends with the first error.
///
/// `at_cut` sees the scanner and the position after every piece.
fn scan(
    stream: &[u8],
    pieces: &[usize],
    mut at_cut: impl FnMut(&Scanner, usize),
) -> (Vec<(usize, Event)>, Scanner) {
    let mut scanner = Scanner::new();
    let mut events = Vec::new();
    let mut start = 0;
    let mut lengths = pieces.iter().copied().cycle();
    while start < stream.len() {
        let end = stream
            .len()
            .min(start + lengths.next().unwrap_or(usize::MAX - start));
        let mut input = &stream[start..end];
        loop {
            let event = scanner.next(&mut input);
            let position = end - input.len();
            match event {
                Ok(Some(header)) => events.push((position, Ok(header))),
                Ok(None) => break,
                Err(error) => {
                    events.push((position, Err(error)));
                    return (events, scanner);
                }
            }
        }
        assert!(input.is_empty(), "None means used up");
        at_cut(&scanner, end);
        start = end;
    }
    (events, scanner)
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        vec(1..8_usize, 1..8),
        vec(1..400_usize, 1..8),
        Just(vec![1])
    ]
}

/// Bytes in which every kind of header is likely, whole, cut and illegal.
fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        2 => any::<u8>(),
        2 => select(vec![0x00, 0x01, 0x02, 0x7D]),
        2 => select(vec![0x7E, 0x7F, 0xFE, 0xFF, 0x80]),
        1 => 0x80..=0x8F_u8,
    ];
    vec(byte, 0..200)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_stream_cut_anywhere_has_the_headers_and_boundaries_that_the_oracle_sees(
        frames in legal_frames(),
        pieces in pieces(),
    ) {
        let stream = written_by_oracle(&frames);
        let expected = read_by_oracle(&stream);
        prop_assert_eq!(expected.len(), frames.len());

        let mut ends = vec![0];
        ends.extend(expected.iter().map(|(start, fields)| (start + fields.4) as usize));
        for pieces in [&pieces[..], &[]] {
            let (events, scanner) = scan(&stream, pieces, |scanner, position| {
                assert_eq!(scanner.at_boundary(), ends.contains(&position), "at {position}");
            });
            let seen: Vec<_> = events
                .iter()
                .map(|(position, event)| (*position as u64, fields(&event.unwrap())))
                .collect();
            prop_assert_eq!(&seen, &expected);
            prop_assert!(scanner.at_boundary());
        }
    }

    #[test]
    fn what_the_oracle_writes_keeps_the_rules_and_adds_up(frames in legal_frames()) {
        let stream = written_by_oracle(&frames);
        let masked = frames.first().is_some_and(|frame| frame.key.is_some());
        let mut rules = if masked {
            Rules::client_to_upstream(Rsv::NONE)
        } else {
            Rules::upstream_to_client(Rsv::NONE)
        };
        let mut tracker = MessageTracker::new();
        let (mut begun, mut sizes) = (0, Vec::new());
        for (_, event) in scan(&stream, &[], |_, _| {}).0 {
            let header = event.unwrap();
            prop_assert_eq!(rules.check(&header), Ok(()));
            if let Some(size) = tracker.track(&header) {
                begun += usize::from(header.opcode() != OpCode::CONTINUATION);
                if header.fin() {
                    sizes.push(size);
                }
            }
        }
        let data = frames.iter().filter(|frame| !frame.opcode.is_control());
        prop_assert_eq!(begun, sizes.len());
        prop_assert_eq!(sizes.iter().sum::<u64>(), data.map(|frame| frame.len as u64).sum::<u64>());
    }

    #[test]
    fn any_bytes_cut_anywhere_say_the_same_at_the_same_place(
        stream in hostile_bytes(),
        pieces in pieces(),
    ) {
        let (whole, whole_end) = scan(&stream, &[], |_, _| {});
        let (cut, cut_end) = scan(&stream, &pieces, |_, _| {});
        prop_assert_eq!(whole, cut);
        prop_assert_eq!(whole_end.remaining(), cut_end.remaining());
        prop_assert_eq!(whole_end.cut_header(), cut_end.cut_header());
        prop_assert_eq!(whole_end.at_boundary(), cut_end.at_boundary());
    }

    #[test]
    fn a_header_reads_like_the_oracle_reads_it(bytes in hostile_bytes()) {
        let mut cursor = Cursor::new(&bytes);
        let oracle = OracleHeader::parse(&mut cursor);
        // The oracle refuses reserved opcodes and lets illegal lengths pass.
        if let (Ok(ours), Ok(oracle)) = (FrameHeader::parse(&bytes), oracle) {
            prop_assert_eq!(ours.as_ref().map(fields), oracle.as_ref().map(oracle_fields));
            if let Some(header) = ours {
                prop_assert_eq!(u64::from(header.header_len()), cursor.position());
            }
        }
    }

    #[test]
    fn a_header_writes_the_bytes_it_was_read_from(bytes in hostile_bytes()) {
        if let Ok(Some(header)) = FrameHeader::parse(&bytes) {
            let len = usize::from(header.header_len());
            prop_assert_eq!(&*header.encode(), &bytes[..len]);
            prop_assert_eq!(FrameHeader::parse(&bytes[..len]), Ok(Some(header)));
            for shorter in 0..len {
                prop_assert_eq!(FrameHeader::parse(&bytes[..shorter]), Ok(None));
            }
        }
    }

    #[test]
    fn a_control_frame_comes_back_from_the_wire(
        opcode in (0x8..=0xF_u8).prop_map(OpCode::from_bits),
        payload in vec(any::<u8>(), 0..=125),
        key in any::<Key>(),
        after in vec(any::<u8>(), 0..20),
    ) {
        let frame = ControlFrame::new(opcode, &payload).unwrap();
        let mut wire = frame.encode(key).to_vec();
        let len = wire.len();
        wire.extend(after);
        prop_assert_eq!(ControlFrame::parse(&wire), Ok(Some((frame, len))));
        prop_assert_eq!(ControlFrame::parse(&wire[..len - 1]), Ok(None));
        prop_assert_eq!(frame.payload(), &payload);
    }

    #[test]
    fn a_control_frame_is_written_as_the_oracle_writes_it(
        payload in vec(any::<u8>(), 0..=125),
        key in any::<Key>(),
    ) {
        let mut oracle = Frame::ping(payload.clone());
        oracle.header_mut().mask = key;
        let mut wire = Vec::new();
        oracle.format(&mut wire).unwrap();
        let ours = ControlFrame::new(OpCode::PING, &payload).unwrap().encode(key);
        prop_assert_eq!(&*ours, &wire[..]);
    }

    #[test]
    fn a_close_keeps_its_code_and_the_start_of_its_reason(
        code in select(vec![1000, 1001, 1011, 1013, 3000, 4999]),
        reason in any::<String>(),
    ) {
        let close = ControlFrame::close(CloseCode::new(code), &reason);
        prop_assert_eq!(close.close_code(), Some(CloseCode::new(code)));
        let kept = close.close_reason().unwrap();
        prop_assert!(reason.starts_with(kept));
        // At most one character of up to four bytes less than what fits.
        prop_assert!(kept.len() == reason.len() || kept.len() > 123 - 4);
    }

    #[test]
    fn any_bytes_give_a_control_frame_of_bounded_length_or_none(bytes in hostile_bytes()) {
        if let Ok(Some((frame, len))) = ControlFrame::parse(&bytes) {
            prop_assert!(len <= bytes.len().min(MAX_CONTROL_LEN));
            let (code, reason) = (frame.close_code(), frame.close_reason());
            prop_assert!(code.is_some() || reason.is_none());
            prop_assert!(code.is_none() || !frame.is_malformed_close());
        }
    }
}

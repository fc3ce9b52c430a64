use super::*;
use crate::{
    frame::Rsv,
    tunnel::{
        keep_alive::{KeepAlive, Rhythm},
        limits::Limits,
    },
};

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, u8::try_from(payload.len()).unwrap()];
    bytes.extend_from_slice(payload);
    bytes
}

/// A pinger with this many pings out, and their cookies.
fn pinger(sent: usize) -> (Pinger, Vec<[u8; 8]>) {
    let rhythm = Rhythm::new(KeepAlive::default(), Instant::now());
    let mut pinger = Pinger::new(rhythm.into(), 0xABCD_0123, 0.5);
    let cookies = (0..sent).map(|_| pinger.sent(Instant::now())).collect();
    (pinger, cookies)
}

/// Reads chunks as a flow does; what is forwarded, and the verdict on the last.
fn read(
    track: &mut Track,
    mut pinger: Option<&mut Pinger>,
    chunks: &[&[u8]],
) -> (Vec<u8>, Verdict) {
    let (mut passed, mut held) = (Vec::new(), Vec::new());
    let mut last = Verdict::default();
    for chunk in chunks {
        let mut chunk = [&held[..], chunk].concat();
        last = track.read(&mut chunk, pinger.as_deref_mut(), Instant::now());
        passed.extend_from_slice(&chunk[..last.forward]);
        held = chunk[last.forward..last.forward + last.hold].to_vec();
    }
    (passed, last)
}

#[test]
fn our_pongs_are_taken_out_and_the_rest_closes_up() {
    let (mut pinger, cookies) = pinger(2);
    let parts = [
        frame(0x01, b"a"),
        frame(0x8A, &cookies[0]),
        frame(0x8A, &cookies[1]),
        frame(0x80, b"b"),
        frame(0x8A, &cookies[1]),
    ];
    let mut track = Track::new(None);
    let (passed, verdict) = read(&mut track, Some(&mut pinger), &[&parts.concat()]);
    let expected = [&parts[0][..], &parts[3], &parts[4]].concat();
    assert_eq!(passed, expected);
    assert_eq!(verdict.boundary, Some(0));
    assert_eq!((verdict.hold, verdict.breach), (0, None));
    assert!(track.at_boundary());
    let counts = track.counts();
    assert_eq!((counts.text, counts.continuation, counts.pong), (1, 1, 1));
}

#[test]
fn a_masked_pong_is_ours_too() {
    let (mut pinger, cookies) = pinger(1);
    let mut payload = cookies[0].to_vec();
    mask::apply(&mut payload, KEY, 0);
    let pong = [&[0x8A, 0x88][..], &KEY, &payload].concat();
    let (passed, _) = read(&mut Track::new(None), Some(&mut pinger), &[&pong]);
    assert_eq!(passed, b"");
}

#[test]
fn only_a_pong_is_ever_held() {
    let (mut pinger, cookies) = pinger(1);
    for parts in [
        frame(0x89, &cookies[0]),
        frame(0x88, b"\x03\xE8bye"),
        frame(0x82, b"data"),
    ] {
        for cut in 0..parts.len() {
            let mut track = Track::new(None);
            let (passed, verdict) = read(&mut track, Some(&mut pinger), &[&parts[..cut]]);
            assert_eq!((passed.len(), verdict.hold), (cut, 0), "{parts:?}");
        }
    }
    let pong = frame(0x8A, &cookies[0]);
    let mut track = Track::new(None);
    let (_, verdict) = read(&mut track, Some(&mut pinger), &[&pong[..9]]);
    assert_eq!((verdict.forward, verdict.hold), (0, 9));
    assert!(track.at_boundary(), "a frame of ours may stand before it");
}

#[test]
fn no_pong_is_held_while_none_is_expected() {
    let (mut pinger, _) = pinger(0);
    for pinger in [None, Some(&mut pinger)] {
        let (passed, verdict) = read(&mut Track::new(None), pinger, &[&[0x8A, 0x08, 1]]);
        assert_eq!((passed.len(), verdict.hold), (3, 0));
    }
}

#[test]
fn the_first_boundary_of_a_chunk_is_told() {
    let stream = [
        frame(0x82, &[1; 9]),
        frame(0x82, &[2; 9]),
        frame(0x82, &[3; 9]),
    ]
    .concat();
    let mut track = Track::new(None);
    // 11 bytes a frame: each chunk of 12 has one boundary or two inside, at its own place.
    for (chunk, boundary) in stream.chunks(12).zip([Some(0), Some(10), Some(9)]) {
        let verdict = track.read(&mut chunk.to_vec(), None, Instant::now());
        assert_eq!(verdict.boundary, boundary);
    }
    let mut inside = Track::new(None);
    read(&mut inside, None, &[&[0x82, 100]]);
    let verdict = inside.read(&mut [0; 50], None, Instant::now());
    assert_eq!(verdict.boundary, None);
    assert!(!inside.at_boundary());
}

#[test]
fn a_close_frame_is_remembered_once_it_is_whole() {
    let mut payload = b"\x03\xE9so long".to_vec();
    mask::apply(&mut payload, KEY, 0);
    let close = [&[0x88, 0x89][..], &KEY, &payload].concat();
    let mut track = Track::new(None);
    for (index, byte) in close.iter().enumerate() {
        assert_eq!(track.is_closing(), index >= 6, "at {index}");
        assert!(!track.has_closed());
        assert_eq!(track.close_seen(), None);
        read(&mut track, None, &[&[*byte]]);
    }
    assert!(track.has_closed());
    let seen = track.close_seen().unwrap();
    assert_eq!(seen.code, Some(CloseCode::GOING_AWAY));
    assert_eq!(seen.reason, "so long");
    // Only the first counts.
    read(&mut track, None, &[&frame(0x88, b"\x03\xE8")]);
    assert_eq!(track.close_seen().unwrap().reason, "so long");
    assert_eq!(track.counts().close, 2);
}

#[test]
fn a_reason_that_is_no_text_is_left_out() {
    let mut track = Track::new(None);
    read(&mut track, None, &[&frame(0x88, b"\x03\xE8\xFF\xFE")]);
    assert_eq!(track.close_seen().unwrap().reason, "");
}

#[test]
fn a_close_frame_is_found_among_bytes_that_go_nowhere() {
    let mut track = Track::new(None);
    let stream = [frame(0x82, &[1; 50]), frame(0x88, b"\x03\xE8")].concat();
    for chunk in stream.chunks(7) {
        assert!(!track.has_closed());
        track.read_discarded(chunk);
    }
    assert!(track.has_closed());
}

#[test]
fn lost_sync_forwards_everything_from_then_on() {
    let (mut pinger, cookies) = pinger(1);
    let illegal = [0x82, 0x7F, 0xFF, 0, 0, 0, 0, 0, 0, 0];
    let stream = [&frame(0x81, b"x")[..], &illegal, &frame(0x8A, &cookies[0])].concat();
    for size in 1..stream.len() {
        let mut track = Track::new(None);
        let chunks: Vec<_> = stream.chunks(size).collect();
        let (passed, _) = read(&mut track, Some(&mut pinger), &chunks);
        assert_eq!(passed, stream, "chunks of {size}");
        assert!(track.is_opaque() && !track.at_boundary());
        assert!(pinger.expects_pong());
    }
}

#[test]
fn a_breach_stops_before_the_frame_however_it_is_cut() {
    let guard = || Guard {
        rules: Some(Rules::upstream_to_client(Rsv::NONE)),
        meter: Meter::new(Limits::new(), Instant::now()),
    };
    let legal = frame(0x81, b"legal");
    for (over, violation) in [
        (frame(0xC1, b"rsv"), Violation::ReservedBits(Rsv::RSV1)),
        (frame(0x80, b""), Violation::StrayContinuation),
    ] {
        let stream = [&legal[..], &over].concat();
        for size in 1..=stream.len() {
            let mut track = Track::new(Some(guard()));
            let mut passed = Vec::new();
            let mut held = Vec::new();
            let mut breach = None;
            for chunk in stream.chunks(size) {
                let mut chunk = [&held[..], chunk].concat();
                let verdict = track.read(&mut chunk, None, Instant::now());
                passed.extend_from_slice(&chunk[..verdict.forward]);
                held = chunk[verdict.forward..][..verdict.hold].to_vec();
                if verdict.breach.is_some() {
                    breach = verdict.breach;
                    break;
                }
            }
            assert_eq!(passed, legal, "chunks of {size}");
            assert_eq!(breach, Some(Breach::Violation(violation)));
            assert_eq!(track.counts().total(), 1, "what is refused is not counted");
        }
    }
}

#[test]
fn what_an_opaque_direction_says_is_not_looked_at() {
    let mut track = Track::opaque();
    let close = frame(0x88, b"\x03\xE8");
    let (passed, verdict) = read(&mut track, None, &[&close]);
    assert_eq!(passed, close);
    assert_eq!(verdict.boundary, None);
    assert!(!track.at_boundary() && !track.has_closed());
    assert_eq!(track.counts().total(), 0);
}

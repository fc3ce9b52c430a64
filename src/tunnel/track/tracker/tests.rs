use super::*;
use crate::{
    frame::{CloseCode, Rsv, Rules, Violation, mask},
    tunnel::{
        keep_alive::{KeepAlive, PingSchedule, Pinger},
        limits::{Limits, Meter},
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
    let now = Instant::now();
    let schedule = PingSchedule::new(KeepAlive::default(), now);
    let mut pinger = Pinger::new(schedule.into(), 0xABCD_0123, 0.5);
    let cookies = (0..sent).map(|_| pinger.sent(now, now)).collect();
    (pinger, cookies)
}

fn unanswered(count: u8) -> UnansweredPings {
    let mut pings = UnansweredPings::default();
    for _ in 0..count {
        pings.add(UnansweredPings::ping(&[]));
    }
    pings
}

/// Scans a chunk of a side of which the other one expects pongs, so that none but those with our
/// cookies are ours.
fn scan(track: &mut Track, chunk: &mut [u8], pinger: Option<&mut Pinger>) -> ScanResult {
    let awaited = Awaited {
        pinger,
        unanswered_pings: &mut unanswered(100),
        filter: None,
    };
    track.read(chunk, Place::Frame, awaited, Instant::now())
}

/// Reads chunks as a flow does; returns the forwarded bytes, and the result on the last chunk.
fn read(
    track: &mut Track,
    mut pinger: Option<&mut Pinger>,
    chunks: &[&[u8]],
) -> (Vec<u8>, ScanResult) {
    let (mut passed, mut held) = (Vec::new(), Vec::new());
    let mut last = ScanResult::default();
    for chunk in chunks {
        let mut chunk = [&held[..], chunk].concat();
        last = scan(track, &mut chunk, pinger.as_deref_mut());
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
    let (passed, result) = read(&mut track, Some(&mut pinger), &[&parts.concat()]);
    let expected = [&parts[0][..], &parts[3], &parts[4]].concat();
    assert_eq!(passed, expected);
    assert_eq!(result.boundary, Some(0));
    assert_eq!((result.hold, result.breach), (0, None));
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
            let (passed, result) = read(&mut track, Some(&mut pinger), &[&parts[..cut]]);
            assert_eq!((passed.len(), result.hold), (cut, 0), "{parts:?}");
        }
    }
    let pong = frame(0x8A, &cookies[0]);
    let mut track = Track::new(None);
    let (_, result) = read(&mut track, Some(&mut pinger), &[&pong[..9]]);
    assert_eq!((result.forward, result.hold), (0, 9));
    assert!(track.at_boundary(), "a frame of ours may be put before it");
}

#[test]
fn no_pong_is_held_while_none_is_expected() {
    let (mut pinger, _) = pinger(0);
    for pinger in [None, Some(&mut pinger)] {
        let (passed, result) = read(&mut Track::new(None), pinger, &[&[0x8A, 0x08, 1]]);
        assert_eq!((passed.len(), result.hold), (3, 0));
    }
}

#[test]
fn the_first_boundary_of_a_chunk_is_returned() {
    let stream = [
        frame(0x82, &[1; 9]),
        frame(0x82, &[2; 9]),
        frame(0x82, &[3; 9]),
    ]
    .concat();
    let mut track = Track::new(None);
    // 11 bytes a frame: each chunk of 12 has one boundary or two inside, at its own place.
    for (chunk, boundary) in stream.chunks(12).zip([Some(0), Some(10), Some(9)]) {
        let result = scan(&mut track, &mut chunk.to_vec(), None);
        assert_eq!(result.boundary, boundary);
    }
    let mut inside = Track::new(None);
    read(&mut inside, None, &[&[0x82, 100]]);
    let result = scan(&mut inside, &mut [0; 50], None);
    assert_eq!(result.boundary, None);
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
fn a_reason_that_is_not_utf8_is_left_out() {
    let mut track = Track::new(None);
    read(&mut track, None, &[&frame(0x88, b"\x03\xE8\xFF\xFE")]);
    assert_eq!(track.close_seen().unwrap().reason, "");
}

#[test]
fn a_close_frame_is_found_among_discarded_bytes() {
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
                let result = scan(&mut track, &mut chunk, None);
                passed.extend_from_slice(&chunk[..result.forward]);
                held = chunk[result.forward..][..result.hold].to_vec();
                if result.breach.is_some() {
                    breach = result.breach;
                    break;
                }
            }
            assert_eq!(passed, legal, "chunks of {size}");
            assert_eq!(breach, Some(Breach::Violation(violation)));
            assert_eq!(track.counts().total(), 1, "a rejected frame is not counted");
        }
    }
}

#[test]
fn the_bytes_of_an_opaque_direction_are_not_scanned() {
    let mut track = Track::opaque();
    let close = frame(0x88, b"\x03\xE8");
    let (passed, result) = read(&mut track, None, &[&close]);
    assert_eq!(passed, close);
    assert_eq!(result.boundary, None);
    assert!(!track.at_boundary() && !track.has_closed());
    assert_eq!(track.counts().total(), 0);
}

#[test]
fn a_discarded_close_was_received_and_not_forwarded() {
    let guard = || Guard {
        rules: Some(Rules::upstream_to_client(Rsv::NONE)),
        meter: Meter::new(Limits::new(), Instant::now()),
    };
    let mut track = Track::new(Some(guard()));
    let stream = [frame(0x80, b"stray"), frame(0x88, b"\x03\xE8")].concat();
    let (passed, result) = read(&mut track, None, &[&stream]);
    assert_eq!(passed, b"");
    assert!(result.breach.is_some());
    assert!(track.has_closed());
    assert!(!track.is_closing() && !track.has_passed_close());
    assert_eq!(track.counts().total(), 0);
    // A close frame that is itself rejected was received too.
    let mut track = Track::new(Some(guard()));
    read(&mut track, None, &[&frame(0x88, b"1")]);
    assert!(track.has_closed() && !track.has_passed_close());
}

#[test]
fn the_boundaries_of_messages_are_known() {
    let parts = [
        frame(0x01, b"a"),
        frame(0x89, b""),
        frame(0x00, b"b"),
        frame(0x80, b"c"),
        frame(0x82, b"d"),
    ];
    let mut track = Track::new(None);
    let mut in_message = Vec::new();
    for part in &parts {
        scan(&mut track, &mut part.clone(), None);
        assert!(track.at_boundary());
        in_message.push(track.in_message());
    }
    assert_eq!(in_message, [true, true, true, false, false]);

    let mut track = Track::new(None);
    let mut stream = [&b""[..], &parts[0], &parts[2], &parts[3], &parts[4]].concat();
    scan(&mut track, &mut stream[..3].to_vec(), None);
    let awaited = Awaited {
        pinger: None,
        unanswered_pings: &mut unanswered(0),
        filter: None,
    };
    let result = track.read(&mut stream[3..], Place::Message, awaited, Instant::now());
    assert_eq!(result.boundary, Some(6), "behind the last fragment");
}

#[test]
fn an_odd_pong_is_ours_where_the_other_side_asked_for_none() {
    for (pings, left, is_ours) in [(0, 0, true), (1, 0, false), (2, 1, false)] {
        let mut unanswered = unanswered(pings);
        let (mut pinger, _) = pinger(1);
        let mut track = Track::new(None);
        let mut pong = frame(0x8A, b"");
        let awaited = Awaited {
            pinger: Some(&mut pinger),
            unanswered_pings: &mut unanswered,
            filter: None,
        };
        let result = track.read(&mut pong, Place::Frame, awaited, Instant::now());
        assert_eq!(result.forward == 0, is_ours);
        assert_eq!(unanswered.count(), left);
    }
}

/// Sends pings with these payloads one way, and then pongs the other way, where a ping of ours
/// waits for its pong; whether each of the pongs is taken for ours.
fn pongs_after(pings: &[&[u8]], pongs: &[&[u8]]) -> Vec<bool> {
    pongs_to(&mut unanswered_of(pings), pongs)
}

/// The pings with these payloads.
fn unanswered_of(pings: &[&[u8]]) -> UnansweredPings {
    let mut unanswered = UnansweredPings::default();
    let mut track = Track::new(None);
    for ping in pings {
        let result = scan(&mut track, &mut frame(0x89, ping), None);
        unanswered.add(result.pings);
    }
    unanswered
}

/// Sends pongs to these pings, where a ping of ours waits for its pong; whether each is taken for ours.
fn pongs_to(unanswered: &mut UnansweredPings, pongs: &[&[u8]]) -> Vec<bool> {
    let mut track = Track::new(None);
    let (mut pinger, _) = pinger(1);
    let is_ours = |pong: &&[u8]| {
        let awaited = Awaited {
            pinger: Some(&mut pinger),
            unanswered_pings: &mut *unanswered,
            filter: None,
        };
        let mut pong = frame(0x8A, pong);
        let result = track.read(&mut pong, Place::Frame, awaited, Instant::now());
        result.forward == 0
    };
    pongs.iter().map(is_ours).collect()
}

#[test]
fn a_pong_to_the_newest_ping_answers_all_before_it_rfc6455_5_5_3() {
    assert_eq!(
        pongs_after(&[b"1", b"2", b"3"], &[b"3", b"odd"]),
        [false, true]
    );
    assert_eq!(
        pongs_after(&[b"1", b"2", b"3"], &[b"1", b"2", b"3", b"odd"]),
        [false, false, false, true]
    );
    assert_eq!(
        pongs_after(&[b"", b"", b""], &[b"", b"", b"", b"odd"]),
        [false, false, false, true],
        "which of them is answered is not known"
    );
    assert_eq!(
        pongs_after(&[b"1"], &[b"unasked", b"1", b"odd"]),
        [false, false, true]
    );
    assert_eq!(
        pongs_after(&[b"1", b"2", b"1"], &[b"1", b"2", b"1", b"odd"]),
        [false, false, false, true],
        "the first pong answers the first ping"
    );
}

#[test]
fn pings_that_are_never_answered_are_counted_up_to_a_bound() {
    let are_ours = pongs_after(&[&b"same"[..]; 1000], &[&b"odd"[..]; 300]);
    assert_eq!(are_ours.iter().position(|is_ours| *is_ours), Some(255));
}

#[test]
fn none_of_the_pongs_to_many_pings_at_once_is_missed_by_the_endpoint_that_has_sent_them() {
    for count in [2_u16, 17, 40, 300] {
        let payloads: Vec<_> = (0..count).map(u16::to_be_bytes).collect();
        let pings: Vec<_> = payloads.iter().map(<[u8; 2]>::as_slice).collect();
        let pongs = [&pings[..], &[b"odd"]].concat();
        let are_ours = pongs_after(&pings, &pongs);
        assert_eq!(
            are_ours.iter().position(|is_ours| *is_ours),
            Some(pings.len()),
            "of {count}"
        );
    }
}

#[test]
fn the_pongs_to_earlier_pings_are_not_missed_behind_pongs_that_no_ping_has_asked_for() {
    assert_eq!(
        pongs_after(&[b"1", b"2"], &[b"unasked", b"no", b"1", b"2", b"odd"]),
        [false, false, false, false, true]
    );
    let mut unanswered = unanswered_of(&[b"1", b"2"]);
    assert_eq!(pongs_to(&mut unanswered, &[b"unasked", b"no"]), [false; 2]);
    unanswered.add(unanswered_of(&[b"3"]));
    assert_eq!(
        pongs_to(&mut unanswered, &[b"1", b"2", b"3", b"odd"]),
        [false, false, false, true]
    );
}

#[test]
fn pongs_with_a_payload_of_their_own_are_ours_again_though_a_ping_came_in_parts() {
    let mut unanswered = UnansweredPings::ping(&[0x89]);
    unanswered.add(unanswered_of(&[b"1"]));
    let are_ours = pongs_to(&mut unanswered, &[b"odd", b"odd", b"odd"]);
    assert_eq!(are_ours, [false; 3], "the first ping may have any payload");
    unanswered.add(unanswered_of(&[b"2"]));
    assert_eq!(pongs_to(&mut unanswered, &[b"odd", b"odd"]), [false, true]);
}

#[test]
fn a_frame_over_the_rate_waits_with_all_behind_it_and_a_close_does_not() {
    let limits = Limits::new().messages_per_second(1);
    let now = Instant::now();
    let mut track = Track::new(Some(Guard {
        rules: Some(Rules::upstream_to_client(Rsv::NONE)),
        meter: Meter::new(limits, now),
    }));
    let text = frame(0x81, b"x");
    let mut stream = [&text[..], &text, &text].concat();
    let mut read = |bytes: &mut [u8], now| {
        let awaited = Awaited {
            pinger: None,
            unanswered_pings: &mut unanswered(0),
            filter: None,
        };
        track.read(bytes, Place::Frame, awaited, now)
    };
    let result = read(&mut stream, now);
    assert_eq!((result.forward, result.hold), (3, 6));
    let until = now + Duration::from_secs(1);
    assert_eq!(result.pause, Some((Limit::MessageRate, until)));
    let result = read(&mut stream[3..], until);
    assert_eq!((result.forward, result.hold), (3, 3));
    let mut close = frame(0x88, b"");
    let result = read(&mut close, until);
    assert_eq!((result.forward, result.pause), (2, None));
    assert_eq!(track.counts().total(), 3, "what waits is not counted");
}

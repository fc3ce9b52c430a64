//! Limits and enforced rules: a frame over a limit is not forwarded, and each leg gets its code.

use tungstenite::protocol::frame::Frame;
use wsplice::{
    Limits, TunnelConfig,
    frame::Violation,
    tunnel::{Framing, Limit, Side, TunnelEnd},
};

use super::{
    clock_kit::{Rig, SIDES, from_side, ms, opposite, secs, steady},
    support::frames::{binary, close, fragments, masked, odd, ping, pong, text, unmasked},
};

/// The close code for the leg that broke no rule.
fn code_for_the_other(offender: Side) -> u16 {
    match offender {
        Side::Client => 1001,
        _ => 1011,
    }
}

/// Sends legal frames and then one too much, all in one piece, and sees that the
/// legal ones arrive and the other does not; then that both legs are closed.
async fn is_closed(mut rig: Rig, from: Side, legal: &[u8], over: &[u8], code: u16) -> TunnelEnd {
    let (offender, other) = rig.ends(from);
    offender.send_raw(&[legal, over].concat()).await;
    assert!(other.exactly(legal.len()).await == legal, "{from}");
    assert_eq!(other.close_code().await, code_for_the_other(from), "{from}");
    assert_eq!(offender.close_code().await, code, "{from}");
    // Further frames of the offender are dropped; its close frame ends the wait.
    offender.send(text("what?")).await;
    offender.send(close(code, "")).await;
    other.send(close(1001, "")).await;
    other.end_of_stream().await;
    offender.end_of_stream().await;
    for side in SIDES {
        assert!(rig.end(side).was_shut_down());
    }
    let report = rig.report().await;
    assert_eq!(report.initiator, from);
    report.end
}

fn limited_side(side: Side, limits: Limits) -> TunnelConfig {
    match side {
        Side::Client => TunnelConfig::new().client_limits(limits),
        _ => TunnelConfig::new().upstream_limits(limits),
    }
}

fn limited(limits: Limits) -> Rig {
    Rig::new(TunnelConfig::new().limits(limits))
}

#[tokio::test(start_paused = true)]
async fn a_frame_as_large_as_allowed_passes_and_a_larger_one_does_not() {
    for side in SIDES {
        for size in [0, 1, 125, 126, 1000, 65_535] {
            let mut rig = limited(Limits::new().frame_size(size as u64));
            rig.passes(side, binary(&vec![1; size])).await;
            let legal = from_side(side, text(""));
            let over = from_side(side, binary(&vec![2; size + 1]));
            let end = is_closed(rig, side, &legal, &over, 1009).await;
            assert_eq!(end, TunnelEnd::Limit(Limit::FrameSize, side));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_is_the_sum_of_its_fragments() {
    for side in SIDES {
        let limits = Limits::new().message_size(10);
        let legal: Vec<u8> = fragments(&["12345", "6789", "0"])
            .into_iter()
            .chain([text("1234567890"), ping(&[0; 100])])
            .flat_map(|frame| from_side(side, frame))
            .collect();
        let mut parts = fragments(&["12345", "67890", "!"]);
        let over = from_side(side, parts.remove(2));
        let begun: Vec<u8> = parts
            .into_iter()
            .flat_map(|frame| from_side(side, frame))
            .collect();
        let legal = [legal, begun].concat();
        let end = is_closed(limited(limits), side, &legal, &over, 1009).await;
        assert_eq!(end, TunnelEnd::Limit(Limit::MessageSize, side));

        let over = from_side(side, text("12345678901"));
        let end = is_closed(limited(limits), side, &[], &over, 1009).await;
        assert_eq!(end, TunnelEnd::Limit(Limit::MessageSize, side));
    }
}

#[tokio::test(start_paused = true)]
async fn messages_beyond_the_rate_are_a_policy_violation() {
    for side in SIDES {
        let mut rig = limited(Limits::new().messages_per_second(5).close_over_rate());
        // A second's worth at once, and from then on one every 200 ms.
        for _ in 0..5 {
            rig.passes(side, text("burst")).await;
        }
        for _ in 0..20 {
            tokio::time::sleep(ms(201)).await;
            // Fragments are one message.
            for part in fragments(&["a", "b", "c"]) {
                rig.passes(side, part).await;
            }
        }
        tokio::time::sleep(secs(60)).await;
        let legal = from_side(side, ping(b"")).repeat(5);
        let over = from_side(side, text("one too many"));
        let end = is_closed(rig, side, &legal, &over, 1008).await;
        assert_eq!(end, TunnelEnd::Limit(Limit::MessageRate, side));
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_beyond_the_rate_are_a_policy_violation() {
    for side in SIDES {
        let mut rig = limited(Limits::new().bytes_per_second(1000).close_over_rate());
        let frame = from_side(side, binary(&[0; 100]));
        let per_second = 1000 / frame.len();
        for _ in 0..20 {
            for _ in 0..per_second {
                rig.passes(side, binary(&[0; 100])).await;
            }
            tokio::time::sleep(secs(1)).await;
        }
        // One frame may be larger than a second's worth; the next must wait for it.
        rig.passes(side, binary(&[0; 5000])).await;
        tokio::time::sleep(ms(4_100)).await;
        rig.passes(side, text("paid")).await;
        rig.passes(side, binary(&[0; 3000])).await;
        let end = is_closed(rig, side, &[], &frame, 1008).await;
        assert_eq!(end, TunnelEnd::Limit(Limit::ByteRate, side));
    }
}

#[tokio::test(start_paused = true)]
async fn each_side_has_its_own_limits() {
    for side in SIDES {
        let limits = Limits::new().frame_size(10).messages_per_second(1);
        let config = match side {
            Side::Client => TunnelConfig::new().client_limits(limits),
            _ => TunnelConfig::new().upstream_limits(limits),
        };
        let mut rig = Rig::new(config);
        for _ in 0..10 {
            rig.passes(opposite(side), binary(&[0; 100])).await;
        }
        let over = from_side(side, binary(&[0; 11]));
        is_closed(rig, side, &[], &over, 1009).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_of_the_frame_that_goes_over_is_forwarded_however_its_header_is_cut() {
    for side in SIDES {
        let legal = from_side(side, text("legal"));
        let over = from_side(side, binary(&[2; 70_000]));
        let header_len = over.len() - 70_000;
        for cut in 0..header_len {
            let mut rig = limited(Limits::new().frame_size(1000));
            let (offender, other) = rig.ends(side);
            offender
                .send_raw(&[&legal[..], &over[..cut]].concat())
                .await;
            assert!(other.exactly(legal.len()).await == legal);
            other.is_quiet_for(ms(1)).await;
            offender.send_raw(&over[cut..header_len]).await;
            assert_eq!(other.close_code().await, code_for_the_other(side));
            assert_eq!(offender.close_code().await, 1009, "cut at {cut}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_that_a_limit_waits_for_is_delivered_when_it_is_whole() {
    for side in SIDES {
        let mut rig = limited(Limits::new().frame_size(1 << 20));
        let frame = from_side(side, binary(&[2; 70_000]));
        let (source, sink) = rig.ends(side);
        let write = async {
            for byte in frame.chunks(1).take(20) {
                source.send_raw(byte).await;
                tokio::time::sleep(ms(1)).await;
            }
            source.send_raw(&frame[20..]).await;
        };
        let ((), got) = tokio::join!(write, sink.exactly(frame.len()));
        assert!(got == frame);
    }
}

#[tokio::test(start_paused = true)]
async fn the_offender_gets_its_close_frame_behind_a_frame_of_the_other_side() {
    for side in SIDES {
        let mut rig = limited(Limits::new().frame_size(1000));
        let half = from_side(opposite(side), binary(&[1; 500]));
        let (offender, other) = rig.ends(side);
        other.send_raw(&half[..100]).await;
        assert!(offender.exactly(100).await == half[..100]);
        offender.send(binary(&[0; 1001])).await;
        assert_eq!(other.close_code().await, code_for_the_other(side));
        offender.is_quiet_for(secs(4)).await;
        other.send_raw(&half[100..]).await;
        assert!(offender.exactly(half.len() - 100).await == half[100..]);
        assert_eq!(offender.close_code().await, 1009);
    }
}

/// Frames that break a rule, each with legal ones before it.
fn violations(side: Side) -> Vec<(Vec<Frame>, Vec<u8>)> {
    let frame = |first, payload: &[u8]| from_side(side, odd(first, payload));
    let begun = || vec![fragments(&["begun", "?"]).remove(0)];
    let wrong_mask = match side {
        Side::Client => unmasked(text("bare")),
        _ => masked(text("masked")),
    };
    // The length bytes 126 and 127 with and without the mask bit.
    let mask_bit = if side == Side::Client { 0x80 } else { 0 };
    vec![
        (vec![], wrong_mask),
        (vec![text("legal")], frame(0x93, b"")),
        (vec![text("legal")], frame(0x8B, b"x")),
        (vec![], frame(0x09, b"ping without FIN")),
        (vec![], frame(0x08, b"")),
        (vec![], frame(0x88, b"1")),
        (vec![], frame(0x80, b"continues nothing")),
        (begun(), frame(0x82, b"interrupts")),
        (vec![], vec![0x82, 126 | mask_bit, 0, 125, 0, 0, 0, 0]),
        (
            vec![],
            vec![0x82, 127 | mask_bit, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0],
        ),
        (
            vec![text("legal")],
            vec![0x82, 127 | mask_bit, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            vec![text("legal")],
            vec![0x89, 126 | mask_bit, 0, 126, 0, 0, 0, 0],
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn enforcing_answers_every_violation_with_1002() {
    for side in SIDES {
        let mut seen = Vec::new();
        for (legal, over) in violations(side) {
            let mut rig = Rig::new(TunnelConfig::new().framing(Framing::Enforce));
            let legal: Vec<u8> = legal
                .into_iter()
                .flat_map(|frame| from_side(side, frame))
                .collect();
            let (offender, other) = rig.ends(side);
            offender.send_raw(&[&legal[..], &over].concat()).await;
            assert!(other.exactly(legal.len()).await == legal, "{over:?}");
            assert_eq!(other.close_code().await, code_for_the_other(side));
            assert_eq!(offender.close_code().await, 1002, "{over:?}");
            other.send(close(1001, "")).await;
            other.end_of_stream().await;
            let report = rig.report().await;
            match report.end {
                TunnelEnd::Violation(violation, by) if by == side => seen.push(violation),
                end => panic!("{over:?}: {end:?}"),
            }
        }
        let headers = |violation: &&Violation| matches!(violation, Violation::Header(_));
        assert_eq!(seen.iter().filter(headers).count(), 2, "{seen:?}");
        let kinds: std::collections::HashSet<_> = seen.iter().map(std::mem::discriminant).collect();
        assert_eq!(kinds.len(), 8, "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn enforcing_forbids_data_after_a_close_rfc6455_5_5_1() {
    for side in SIDES {
        let mut rig = Rig::new(TunnelConfig::new().framing(Framing::Enforce));
        rig.passes(side, close(1000, "")).await;
        let (offender, other) = rig.ends(side);
        offender.send(text("one more thing")).await;
        assert_eq!(offender.close_code().await, 1002);
        // The other side has the offender's close frame, and gets none of ours.
        other.send(close(1000, "")).await;
        other.end_of_stream().await;
        let report = rig.report().await;
        let end = TunnelEnd::Violation(Violation::DataAfterClose, side);
        assert_eq!(report.end, end);
    }
}

#[tokio::test(start_paused = true)]
async fn enforcing_lets_all_that_is_legal_pass() {
    for side in SIDES {
        let mut rig = Rig::new(TunnelConfig::new().framing(Framing::Enforce));
        let legal = fragments(&["a", "", "c"])
            .into_iter()
            .chain([text(""), binary(&[1; 126]), ping(&[1; 125]), odd(0xC1, b"")])
            .chain([close(4999, "end"), ping(b"a control frame may follow")]);
        for frame in legal {
            rig.passes(side, frame).await;
        }
        assert!(!rig.is_over());
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_is_over_its_rate_waits_and_loses_nothing() {
    for side in SIDES {
        let mut rig = limited(Limits::new().messages_per_second(4));
        let (source, sink) = rig.ends(side);
        let frames: Vec<_> = (0..20_u8)
            .map(|fill| from_side(side, binary(&[fill; 50])))
            .collect();
        source.send_raw(&frames.concat()).await;
        for frame in &frames {
            assert!(sink.frame().await.raw == *frame, "{side}");
        }
        assert_eq!(rig.elapsed(), secs(4));
        rig.passes(opposite(side), text("unhindered")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_passes_at_once() {
    for side in SIDES {
        let mut rig = limited(Limits::new().messages_per_second(1).message_burst(10));
        for _ in 0..10 {
            rig.passes(side, text("burst")).await;
        }
        assert_eq!(rig.elapsed(), secs(0));
        rig.passes(side, text("and no more")).await;
        assert_eq!(rig.elapsed(), secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_passes_at_any_rate() {
    for side in SIDES {
        for limits in [
            Limits::new().messages_per_second(1),
            Limits::new().bytes_per_second(10),
        ] {
            for limits in [limits, limits.close_over_rate()] {
                let mut rig = limited(limits);
                rig.passes(side, text("a large one, on credit")).await;
                rig.passes(side, close(1000, "bye")).await;
                rig.passes(opposite(side), close(1000, "")).await;
                rig.end(side).finish().await;
                rig.end(opposite(side)).finish().await;
                let report = rig.report().await;
                assert_eq!((report.end, report.initiator), (TunnelEnd::Closed, side));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pongs_that_the_other_side_asks_for_pass_at_any_rate() {
    for side in SIDES {
        let limits = Limits::new().messages_per_second(0).close_over_rate();
        let mut rig = Rig::new(limited_side(side, limits));
        for _ in 0..50 {
            rig.passes(opposite(side), ping(b"?")).await;
            rig.passes(side, pong(b"?")).await;
        }
        rig.end(side).send(pong(b"unasked")).await;
        assert_eq!(rig.end(side).close_code().await, 1008);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_bounded() {
    for side in SIDES {
        for limits in [
            Limits::new().messages_per_second(0),
            Limits::new().bytes_per_second(1).byte_burst(1),
        ] {
            let config = limited_side(side, limits)
                .idle_timeout(secs(25))
                .client_keep_alive(None);
            let mut rig = Rig::new(config);
            // The first may pass on credit.
            let frames = from_side(side, binary(&[0; 60])).repeat(2);
            rig.end(side).send_raw(&frames).await;
            assert_eq!(rig.end(side).close_code().await, 1008, "{side} {limits:?}");
            assert_eq!(rig.elapsed(), secs(30), "it was not idle");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_waits_for_its_rate_owes_no_pong() {
    for side in SIDES {
        let limits = Limits::new().bytes_per_second(10).byte_burst(1);
        let config = limited_side(side, limits)
            .client_keep_alive((side == Side::Client).then(steady))
            .upstream_keep_alive((side == Side::Upstream).then(steady));
        let mut rig = Rig::new(config);
        let (source, sink) = rig.ends(side);
        let cookie = source.ping().await;
        // A large frame on credit, one that has to wait for 26 s, and the pong behind it.
        let large = from_side(side, binary(&[1; 254]));
        let small = from_side(side, text("!"));
        let behind = from_side(side, pong(&cookie));
        source
            .send_raw(&[&large[..], &small, &behind].concat())
            .await;
        assert!(sink.frame().await.raw == large);
        assert!(sink.frame().await.raw == small, "{side}");
        assert!(rig.elapsed() > secs(45));
        assert!(!rig.is_over());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_of_the_other_side_is_not_charged() {
    for side in SIDES {
        let limits = Limits::new().messages_per_second(10).close_over_rate();
        let mut rig = Rig::with_capacity(TunnelConfig::new().limits(limits), 1024);
        let frame = from_side(side, binary(&[7; 100]));
        let (source, sink) = rig.ends(side);
        // Ten a second, as it may; the other one reads nothing for 15 s.
        let write = async {
            for _ in 0..150 {
                source.send_raw(&frame).await;
                tokio::time::sleep(ms(100)).await;
            }
        };
        let read = async {
            tokio::time::sleep(secs(15)).await;
            sink.exactly(frame.len() * 150).await
        };
        let ((), got) = tokio::join!(write, read);
        assert!(got == frame.repeat(150), "{side}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_breach_with_a_close_behind_it_leaves_the_other_side_a_close_frame() {
    for side in SIDES {
        let mut rig = limited(Limits::new().frame_size(10));
        let over = from_side(side, binary(&[0; 11]));
        let bye = from_side(side, close(1000, "bye"));
        let (offender, other) = rig.ends(side);
        offender.send_raw(&[&over[..], &bye].concat()).await;
        assert_eq!(other.close_code().await, code_for_the_other(side));
        assert_eq!(offender.close_code().await, 1009);
        offender.end_of_stream().await;
        other.send(close(1001, "")).await;
        other.end_of_stream().await;
        for side in SIDES {
            assert!(rig.end(side).was_shut_down());
        }
        assert_eq!(rig.elapsed(), secs(0));
        let report = rig.report().await;
        assert_eq!(report.end, TunnelEnd::Limit(Limit::FrameSize, side));
    }
}

//! Close frames of the proxy's own (RFC 6455 §5.5.1, §7): their place in the stream, their code and
//! reason, and the wait for the answer.

use std::io::ErrorKind::ConnectionReset;

use wsplice::{
    TunnelConfig,
    frame::{CloseCode, CloseFrame},
    tunnel::{Side, Timer, TunnelEnd},
};

use super::{
    clock_kit::{Rig, SIDES, from_side, ms, opposite, secs},
    support::frames::{binary, close, text},
};

/// A tunnel that the proxy itself closes with 1001 after a minute.
fn a_minute() -> TunnelConfig {
    TunnelConfig::new()
        .max_lifetime(secs(60))
        .lifetime_jitter(0.0)
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_of_the_proxy_waits_for_a_frame_boundary() {
    for side in SIDES {
        let frame = from_side(opposite(side), binary(&[3; 300]));
        for cut in [1, 2, 3, 4, 5, 100, frame.len() - 1] {
            let mut rig = Rig::new(a_minute());
            let (end, other) = rig.ends(side);
            other.send_raw(&frame[..cut]).await;
            assert!(end.exactly(cut).await == frame[..cut]);
            // The lifetime ends while the frame is half-way.
            end.is_quiet_for(secs(62)).await;
            other.send_raw(&frame[cut..]).await;
            assert!(end.exactly(frame.len() - cut).await == frame[cut..]);
            assert_eq!(end.close_code().await, 1001, "{side} cut at {cut}");
            // Nothing follows it.
            other.send(text("too late")).await;
            end.send(close(1001, "")).await;
            end.end_of_stream().await;
        }
    }
}

/// A tunnel that the proxy closes after 20 ms, over pipes that hold 1,000 bytes.
fn short_lived() -> Rig {
    let config = TunnelConfig::new()
        .max_lifetime(ms(20))
        .lifetime_jitter(0.0);
    Rig::with_capacity(config, 1000)
}

/// Frames of this side, each longer than a pipe.
fn long_frames(side: Side) -> Vec<u8> {
    let frames = (0..60_u8).flat_map(|fill| from_side(side, binary(&vec![fill; 1497])));
    frames.collect()
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_of_the_proxy_goes_between_frames_where_no_chunk_ends_at_a_boundary() {
    for side in SIDES {
        let mut rig = short_lived();
        let stream = long_frames(opposite(side));
        let (end, other) = rig.ends(side);
        let write = async {
            for chunk in stream.chunks(1000) {
                other.send_raw(chunk).await;
                tokio::time::sleep(ms(1)).await;
            }
            assert_eq!(other.close_code().await, 1001);
            other.send(close(1001, "")).await;
            other.end_of_stream().await;
        };
        let read = async {
            let mut frames = Vec::new();
            let seen = loop {
                let frame = end.frame().await;
                if frame.opcode() == 8 {
                    break frame;
                }
                frames.extend(frame.raw);
            };
            assert_eq!(seen.close().unwrap().0, 1001);
            assert!(stream.starts_with(&frames) && frames.len() >= 18_000);
            end.send(close(1001, "")).await;
            end.end_of_stream().await;
        };
        tokio::join!(write, read);
        for side in SIDES {
            assert!(rig.end(side).was_shut_down());
        }
    }
}

/// Our close frame came in the middle of a chunk, so the bytes behind it were dropped; the leg is
/// nevertheless at its end, and is not reset because of the other side.
#[tokio::test(start_paused = true)]
async fn a_leg_that_the_proxy_has_closed_ends_in_order_although_the_other_breaks() {
    for side in SIDES {
        let mut rig = short_lived();
        let stream = long_frames(opposite(side));
        let (end, other) = rig.ends(side);
        let write = async {
            for chunk in stream.chunks(1000) {
                other.send_raw(chunk).await;
                tokio::time::sleep(ms(1)).await;
            }
            other.fail_reads(ConnectionReset);
        };
        let read = async {
            while end.frame().await.opcode() != 8 {}
            tokio::time::sleep(secs(1)).await;
            end.send(close(1001, "")).await;
            end.end_of_stream().await;
        };
        tokio::join!(write, read);
        assert!(rig.end(side).was_shut_down(), "{side}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_never_ends_is_cut_off_together_with_its_sender() {
    for side in SIDES {
        let mut rig = Rig::new(a_minute());
        let half = from_side(opposite(side), binary(&[3; 300]))[..200].to_vec();
        let (end, other) = rig.ends(side);
        other.send_raw(&half).await;
        assert_eq!(other.close_code().await, 1001);
        assert!(end.rest().await == half, "no frame inside a frame");
        assert!(!end.was_shut_down());
        assert_eq!(rig.elapsed(), secs(65), "it did not answer either");
        let report = rig.report().await;
        let end = TunnelEnd::Timeout(Timer::MaxLifetime, Side::Proxy);
        assert_eq!(report.end, end);
    }
}

#[tokio::test(start_paused = true)]
async fn the_proxy_sends_no_close_frame_after_an_endpoints_rfc6455_5_5_1() {
    for side in SIDES {
        let mut rig = Rig::new(a_minute().max_lifetime(secs(20)));
        rig.passes(opposite(side), close(1000, "mine")).await;
        // The lifetime ends while the answer to the close is awaited.
        let (end, other) = rig.ends(side);
        assert_eq!(other.close_code().await, 1001);
        end.send(close(1000, "")).await;
        end.end_of_stream().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_frame_behind_a_close_frame_does_not_keep_a_leg_from_its_end_rfc6455_5_5_1() {
    for side in SIDES {
        let mut rig = Rig::new(a_minute().max_lifetime(secs(20)));
        let (end, other) = rig.ends(side);
        other.send(close(1000, "bye")).await;
        other.send_raw(&[0x82]).await;
        assert_eq!(end.frame().await.close(), Some((1000, "bye".into())));
        assert_eq!(end.exactly(1).await, [0x82]);
        // The lifetime ends.
        assert_eq!(other.close_code().await, 1001);
        end.send(close(1000, "")).await;
        end.end_of_stream().await;
        other.end_of_stream().await;
        for side in SIDES {
            assert!(rig.end(side).was_shut_down(), "{side}");
        }
        assert_eq!(rig.elapsed(), secs(20));
    }
}

#[tokio::test(start_paused = true)]
async fn the_proxy_sends_no_second_close_frame() {
    // A side closed by the idle timeout breaks: the other one has its close frame already.
    let mut rig = Rig::new(TunnelConfig::new().idle_timeout(secs(60)));
    let client = rig.end(Side::Client);
    assert_eq!(client.close_code().await, 1001);
    rig.end(Side::Upstream).close_code().await;
    rig.end(Side::Upstream).fail_reads(ConnectionReset);
    let client = rig.end(Side::Client);
    client.is_quiet_for(secs(1)).await;
    client.send(close(1001, "")).await;
    client.end_of_stream().await;
    let end = TunnelEnd::Timeout(Timer::Idle, Side::Proxy);
    assert_eq!(rig.report().await.end, end);
}

#[tokio::test(start_paused = true)]
async fn the_host_can_change_the_close_frames_of_the_proxy() {
    let config = a_minute().map_close_frame(|end, side, frame| {
        assert_eq!(*end, TunnelEnd::Timeout(Timer::MaxLifetime, Side::Proxy));
        assert_eq!(frame.code, CloseCode::GOING_AWAY);
        match side {
            Side::Client => CloseFrame::new(CloseCode::new(4000), "come back"),
            _ => frame,
        }
    });
    let mut rig = Rig::new(config);
    let frame = rig.end(Side::Client).frame().await;
    assert_eq!(frame.close(), Some((4000, "come back".into())));
    let frame = rig.end(Side::Upstream).frame().await;
    assert_eq!(
        frame.close(),
        Some((1001, "maximum lifetime reached".into()))
    );
}

#[tokio::test(start_paused = true)]
async fn the_host_can_change_the_close_frame_for_a_lost_upstream() {
    let restyle = |_: &TunnelEnd, _: Side, _| CloseFrame::new(CloseCode::TRY_AGAIN_LATER, "later");
    let mut rig = Rig::new(TunnelConfig::new().map_close_frame(restyle));
    rig.end(Side::Upstream).finish().await;
    let frame = rig.end(Side::Client).frame().await;
    assert_eq!(frame.close(), Some((1013, "later".into())));
}

#[tokio::test(start_paused = true)]
async fn codes_that_must_not_be_sent_are_not_rfc6455_7_4_1() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
        let config = a_minute()
            .map_close_frame(move |_, _, _| CloseFrame::new(CloseCode::new(code), "never this"));
        let mut rig = Rig::new(config);
        for side in SIDES {
            let frame = rig.end(side).frame().await;
            assert_eq!(frame.close(), None, "{code}: an empty body");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_reason_is_cut_between_characters_rfc6455_5_5() {
    let config =
        a_minute().map_close_frame(|_, _, frame| CloseFrame::new(frame.code, "\u{e9}".repeat(100)));
    let mut rig = Rig::new(config);
    for side in SIDES {
        let frame = rig.end(side).frame().await;
        assert_eq!(frame.close(), Some((1001, "\u{e9}".repeat(61))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_timeout_of_zero_waits_for_nothing() {
    let mut rig = Rig::new(a_minute().close_timeout(secs(0)));
    let _ = rig.report().await;
    assert_eq!(rig.elapsed(), secs(60));
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_the_answer_to_a_close_frame_is_bounded() {
    let mut rig = Rig::new(TunnelConfig::new().close_timeout(ms(700)));
    rig.end(Side::Upstream).fail_reads(ConnectionReset);
    let client = rig.end(Side::Client);
    assert_eq!(client.close_code().await, 1011);
    // Further frames from it are dropped and prolong nothing.
    for _ in 0..6 {
        client.send(text("what?")).await;
        client.is_quiet_for(ms(100)).await;
    }
    client.end_of_stream().await;
    assert!(!client.was_shut_down(), "dropped");
    assert_eq!(rig.elapsed(), ms(700));
    assert_eq!(rig.report().await.unanswered_close, Some(Side::Client));
}

#[tokio::test(start_paused = true)]
async fn a_side_that_has_much_to_read_before_our_close_frame_is_not_cut_off() {
    for slow in SIDES {
        let mut rig = Rig::with_capacity(a_minute(), 2 << 20);
        let bulk = from_side(opposite(slow), binary(&vec![7; 1 << 20]));
        let (reader, sender) = rig.ends(slow);
        sender.send_raw(&bulk).await;
        assert_eq!(sender.close_code().await, 1001);
        sender.send(close(1001, "")).await;
        for part in bulk.chunks(64 * 1024) {
            assert!(reader.exactly(part.len()).await == part, "{slow}");
            tokio::time::sleep(secs(1)).await;
            reader.send(text("still reading")).await;
        }
        assert_eq!(reader.close_code().await, 1001);
        reader.send(close(1001, "")).await;
        let report = rig.report().await;
        let end = TunnelEnd::Timeout(Timer::MaxLifetime, Side::Proxy);
        assert_eq!((report.end, report.unanswered_close), (end, None), "{slow}");
        assert_eq!(rig.elapsed(), secs(60 + 17));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_side_that_had_much_to_read_is_cut_off_in_the_end() {
    let mut rig = Rig::with_capacity(a_minute(), 2 << 20);
    let bulk = from_side(Side::Upstream, binary(&vec![7; 1 << 20]));
    let upstream = rig.end(Side::Upstream);
    upstream.send_raw(&bulk).await;
    assert_eq!(upstream.close_code().await, 1001);
    upstream.send(close(1001, "")).await;
    let report = rig.report().await;
    assert_eq!(report.unanswered_close, Some(Side::Client));
    assert_eq!(rig.elapsed(), secs(60 + 60), "the write timeout");
}

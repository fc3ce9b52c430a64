//! Ends of tunnels (RFC 6455 §5.5.1, §7): which close frame each side gets, its place in the
//! stream, and the report.

use std::io::ErrorKind::{BrokenPipe, ConnectionReset};

use wsplice::{
    Side, Timer, TunnelConfig, TunnelEnd,
    frame::{CloseCode, CloseFrame},
};

use super::{
    clock_kit::{Rig, SIDES, from_side, ms, opposite, secs, steady},
    support::frames::{binary, close, fragments, text},
};

/// A tunnel that the proxy itself closes with 1001 after a minute.
fn a_minute() -> TunnelConfig {
    TunnelConfig::new()
        .max_lifetime(secs(60))
        .lifetime_jitter(0.0)
}

#[tokio::test(start_paused = true)]
async fn a_close_handshake_of_the_endpoints_passes_untouched() {
    for first in SIDES {
        let mut rig = Rig::new(TunnelConfig::new().keep_alive(steady()));
        rig.passes(first, close(4001, "enough")).await;
        rig.passes(opposite(first), close(4001, "")).await;
        let (one, other) = rig.ends(first);
        other.finish().await;
        one.end_of_stream().await;
        one.finish().await;
        other.end_of_stream().await;
        let report = rig.report().await;
        assert_eq!((report.end, report.initiator), (TunnelEnd::Closed, first));
        let (there, back) = match first {
            Side::Client => (report.client_to_upstream, report.upstream_to_client),
            _ => (report.upstream_to_client, report.client_to_upstream),
        };
        let seen = there.close.expect("the first close frame");
        assert_eq!(seen.code, Some(CloseCode::new(4001)));
        assert_eq!(seen.reason, "enough");
        assert_eq!(back.close.expect("its answer").reason, "");
        assert_eq!(report.duration, secs(0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_without_a_code_is_seen_as_such_rfc6455_5_5_1() {
    for side in SIDES {
        let mut rig = Rig::new(TunnelConfig::new());
        let empty = from_side(side, tungstenite::protocol::frame::Frame::close(None));
        rig.end(side).send_raw(&empty).await;
        rig.end(side).finish().await;
        assert!(rig.end(opposite(side)).rest().await == empty);
        rig.end(opposite(side)).finish().await;
        let report = rig.report().await;
        assert_eq!(report.end, TunnelEnd::Closed);
        let passed = match side {
            Side::Client => report.client_to_upstream,
            _ => report.upstream_to_client,
        };
        assert_eq!(passed.close.expect("a close frame").code, None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_ends_without_a_word_is_told_to_the_client_as_1011() {
    let mut rig = Rig::new(TunnelConfig::new());
    rig.passes(Side::Upstream, text("last words")).await;
    let (client, upstream) = rig.ends(Side::Client);
    upstream.finish().await;
    assert_eq!(client.close_code().await, 1011);
    // What follows a close frame at once can draw a reset that destroys it.
    client.is_quiet_for(secs(4)).await;
    // An answer by the client does not make this a clean close.
    client.send(close(1011, "")).await;
    client.end_of_stream().await;
    assert!(client.was_shut_down());
    upstream.end_of_stream().await;
    let report = rig.report().await;
    assert_eq!(report.end, TunnelEnd::ClosedWithoutFrame(Side::Upstream));
    assert_eq!(report.initiator, Side::Upstream);
    assert!(report.is_upstream_failure());
    assert_eq!(rig.elapsed(), secs(4), "promptly");
}

#[tokio::test(start_paused = true)]
async fn a_lost_upstream_is_the_reason_even_if_the_client_never_answers() {
    let mut rig = Rig::new(TunnelConfig::new());
    rig.end(Side::Upstream).finish().await;
    assert_eq!(rig.end(Side::Client).close_code().await, 1011);
    let report = rig.report().await;
    assert_eq!(report.end, TunnelEnd::ClosedWithoutFrame(Side::Upstream));
    assert!(report.is_upstream_failure());
    assert_eq!(report.unanswered_close, Some(Side::Client));
    assert_eq!(rig.elapsed(), secs(5), "the close timeout");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ends_without_a_word_ends_its_direction_only() {
    let mut rig = Rig::new(TunnelConfig::new());
    let (client, upstream) = rig.ends(Side::Client);
    client.finish().await;
    upstream.end_of_stream().await;
    assert!(upstream.was_shut_down());
    rig.passes(Side::Upstream, text("still talking")).await;
    rig.end(Side::Upstream).finish().await;
    rig.end(Side::Client).rest().await;
    let report = rig.report().await;
    assert_eq!(report.end, TunnelEnd::ClosedWithoutFrame(Side::Client));
    assert_eq!(report.initiator, Side::Client);
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_after_the_other_side_was_gone_is_not_the_first_end() {
    let mut rig = Rig::new(TunnelConfig::new());
    let (client, upstream) = rig.ends(Side::Client);
    client.finish().await;
    upstream.end_of_stream().await;
    rig.passes(Side::Upstream, close(1006, "")).await;
    rig.end(Side::Upstream).finish().await;
    assert_eq!(
        rig.report().await.end,
        TunnelEnd::ClosedWithoutFrame(Side::Client)
    );
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_glued_to_the_end_is_a_clean_close() {
    for side in SIDES {
        let mut rig = Rig::new(TunnelConfig::new());
        // Frame and end arrive in one poll of the tunnel.
        let bytes = from_side(side, close(1000, "bye"));
        rig.end(side).send_raw(&bytes).await;
        rig.end(side).finish().await;
        assert!(rig.end(opposite(side)).rest().await == bytes);
        rig.end(opposite(side)).finish().await;
        let report = rig.report().await;
        assert_eq!((report.end, report.initiator), (TunnelEnd::Closed, side));
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_inside_a_frame_is_followed_by_no_close_frame() {
    for dead in SIDES {
        let frame = from_side(dead, binary(&[8; 300]));
        for cut in [1, 2, 3, 4, 5, 7, 100, frame.len() - 1] {
            let mut rig = Rig::new(TunnelConfig::new());
            let (end, other) = rig.ends(dead);
            end.send_raw(&frame[..cut]).await;
            end.finish().await;
            assert!(other.rest().await == frame[..cut], "{dead} cut at {cut}");
            other.finish().await;
            let report = rig.report().await;
            assert_eq!(report.end, TunnelEnd::TruncatedFrame(dead), "cut at {cut}");
            assert_eq!(report.initiator, dead);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_inside_a_close_frame_is_no_clean_close() {
    for dead in SIDES {
        let mut rig = Rig::new(TunnelConfig::new());
        let bytes = from_side(dead, close(1000, "see you"));
        let (end, other) = rig.ends(dead);
        end.send_raw(&bytes[..bytes.len() - 2]).await;
        end.finish().await;
        assert!(other.rest().await == bytes[..bytes.len() - 2]);
        other.finish().await;
        let report = rig.report().await;
        assert_eq!(report.end, TunnelEnd::TruncatedFrame(dead));
        assert_eq!(report.client_to_upstream.close, None);
        assert_eq!(report.upstream_to_client.close, None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_client_says_after_a_cut_frame_is_no_clean_close() {
    let mut rig = Rig::new(TunnelConfig::new());
    let (client, upstream) = rig.ends(Side::Client);
    upstream.send_raw(&[0x82, 100, 1]).await;
    upstream.finish().await;
    client.rest().await;
    client.send(close(1002, "what was that?")).await;
    client.finish().await;
    upstream.rest().await;
    assert_eq!(
        rig.report().await.end,
        TunnelEnd::TruncatedFrame(Side::Upstream)
    );
}

#[tokio::test(start_paused = true)]
async fn an_end_between_fragments_leaves_room_for_a_close_frame() {
    let mut rig = Rig::new(TunnelConfig::new());
    let first = fragments(&["begun", "never ended"]).remove(0);
    rig.passes(Side::Upstream, first).await;
    rig.end(Side::Upstream).finish().await;
    assert_eq!(rig.end(Side::Client).close_code().await, 1011);
}

#[tokio::test(start_paused = true)]
async fn a_broken_upstream_is_told_to_the_client_as_1011() {
    let mut rig = Rig::new(TunnelConfig::new());
    rig.passes(Side::Upstream, text("last words")).await;
    rig.end(Side::Upstream).fail_reads(ConnectionReset);
    let client = rig.end(Side::Client);
    assert_eq!(client.close_code().await, 1011);
    client.send(close(1011, "")).await;
    client.end_of_stream().await;
    assert!(client.was_shut_down());
    let report = rig.report().await;
    assert_eq!(
        report.end,
        TunnelEnd::Broken(Side::Upstream, ConnectionReset)
    );
    assert!(!rig.end(Side::Upstream).was_shut_down());
    assert_eq!(rig.elapsed(), secs(0));
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_close_frame_is_waited_for_within_bounds() {
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
async fn a_broken_client_breaks_the_upstream_leg() {
    let mut rig = Rig::new(TunnelConfig::new());
    rig.passes(Side::Client, text("hello")).await;
    rig.end(Side::Client).fail_reads(ConnectionReset);
    let upstream = rig.end(Side::Upstream);
    upstream.end_of_stream().await;
    assert!(!upstream.was_shut_down(), "a reset is passed on");
    assert_eq!(
        rig.report().await.end,
        TunnelEnd::Broken(Side::Client, ConnectionReset)
    );
}

#[tokio::test(start_paused = true)]
async fn a_side_that_breaks_inside_a_frame_gets_the_other_one_aborted() {
    for (dead, cuts) in [(Side::Upstream, [1, 3, 50]), (Side::Client, [1, 5, 50])] {
        for cut in cuts {
            let mut rig = Rig::new(TunnelConfig::new());
            let half = &from_side(dead, binary(&[1; 100]))[..cut];
            let (end, other) = rig.ends(dead);
            end.send_raw(half).await;
            assert!(other.exactly(cut).await == half);
            end.fail_reads(ConnectionReset);
            other.end_of_stream().await;
            assert!(!other.was_shut_down());
            let report = rig.report().await;
            assert_eq!(report.end, TunnelEnd::Broken(dead, ConnectionReset));
            assert_eq!(rig.elapsed(), secs(0), "{dead} cut at {cut}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_breaks_inside_its_close_frame_gets_the_other_one_aborted() {
    for dead in SIDES {
        let mut rig = Rig::new(TunnelConfig::new());
        let (end, other) = rig.ends(dead);
        let half = &from_side(dead, close(1000, "see you"))[..8];
        end.send_raw(half).await;
        assert!(other.exactly(8).await == half);
        end.fail_reads(ConnectionReset);
        other.end_of_stream().await;
        let report = rig.report().await;
        assert_eq!(report.end, TunnelEnd::Broken(dead, ConnectionReset));
        assert_eq!(rig.elapsed(), secs(0), "{dead}: nothing to wait for");
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_cannot_be_written_to_is_still_heard_out() {
    let mut rig = Rig::new(TunnelConfig::new());
    let (client, upstream) = rig.ends(Side::Client);
    upstream.fail_writes(BrokenPipe);
    client.send(text("into the void")).await;
    tokio::time::sleep(ms(1)).await;
    // Frames that the upstream sent before it broke still arrive.
    upstream.send(text("too late")).await;
    assert_eq!(client.frame().await.payload, b"too late");
    upstream.finish().await;
    assert_eq!(client.close_code().await, 1011);
    client.send(close(1011, "")).await;
    client.end_of_stream().await;
    assert_eq!(
        rig.report().await.end,
        TunnelEnd::Broken(Side::Upstream, BrokenPipe)
    );
}

#[tokio::test(start_paused = true)]
async fn a_side_that_cannot_be_written_to_and_says_no_more_is_lost() {
    for (dead, code) in [(Side::Upstream, Some(1011)), (Side::Client, None)] {
        let mut rig = Rig::new(TunnelConfig::new());
        let (end, other) = rig.ends(dead);
        end.fail_writes(BrokenPipe);
        other.send(text("into the void")).await;
        if let Some(code) = code {
            assert_eq!(other.close_code().await, code);
            other.send(close(code, "")).await;
        }
        other.end_of_stream().await;
        assert_eq!(rig.elapsed(), secs(10), "the half-close timeout");
        let report = rig.report().await;
        assert_eq!(report.end, TunnelEnd::Broken(dead, BrokenPipe));
    }
}

#[tokio::test(start_paused = true)]
async fn our_close_frames_stand_at_a_boundary() {
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

#[tokio::test(start_paused = true)]
async fn our_close_frame_finds_its_place_where_no_chunk_ends_at_a_boundary() {
    for side in SIDES {
        let config = TunnelConfig::new()
            .max_lifetime(ms(20))
            .lifetime_jitter(0.0);
        let mut rig = Rig::with_capacity(config, 1000);
        let stream: Vec<u8> = (0..60_u8)
            .flat_map(|fill| from_side(opposite(side), binary(&vec![fill; 1497])))
            .collect();
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
async fn a_leg_that_got_our_close_frame_ends_in_order_though_the_other_breaks() {
    for side in SIDES {
        let config = TunnelConfig::new()
            .max_lifetime(ms(20))
            .lifetime_jitter(0.0);
        let mut rig = Rig::with_capacity(config, 1000);
        let stream: Vec<u8> = (0..60_u8)
            .flat_map(|fill| from_side(opposite(side), binary(&vec![fill; 1497])))
            .collect();
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
async fn a_frame_that_never_ends_is_cut_with_the_side_that_sends_it() {
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
async fn we_send_no_close_frame_after_an_endpoints_rfc6455_5_5_1() {
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
async fn we_send_no_second_close_frame() {
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
async fn the_wording_of_our_close_frames_is_the_users() {
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
async fn a_lost_upstream_is_worded_by_the_user_too() {
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
async fn a_close_timeout_of_nothing_waits_for_nothing() {
    let mut rig = Rig::new(a_minute().close_timeout(secs(0)));
    let _ = rig.report().await;
    assert_eq!(rig.elapsed(), secs(60));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_tunnel_sends_nothing() {
    for side in SIDES {
        let (client, mut far_client) = tokio::io::duplex(64);
        let (upstream, mut far_upstream) = tokio::io::duplex(64);
        let tunnel = wsplice::Tunnel::new(
            wsplice::Transport::new(client),
            wsplice::Transport::new(upstream),
        );
        drop(tokio::time::timeout(secs(1), tunnel).await);
        let far = match side {
            Side::Client => &mut far_client,
            _ => &mut far_upstream,
        };
        let mut rest = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(far, &mut rest)
            .await
            .unwrap();
        assert_eq!(rest, b"");
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_could_not_be_read_has_its_whole_time_to_answer_a_close_frame() {
    for first in SIDES {
        let mut rig = Rig::new(TunnelConfig::new());
        rig.passes(first, close(4001, "enough")).await;
        // More than a pipe and the tunnel hold, so that the other side is not read.
        let (one, other) = rig.ends(first);
        let download = from_side(opposite(first), binary(&[7; 160_000]));
        other.send_raw(&download).await;
        tokio::time::sleep(secs(31)).await;
        assert!(one.exactly(download.len()).await == download, "{first}");
        tokio::time::sleep(secs(29)).await;
        rig.passes(opposite(first), close(4001, "")).await;
        for side in SIDES {
            rig.end(side).finish().await;
        }
        assert_eq!(rig.report().await.end, TunnelEnd::Closed, "{first}");
    }
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

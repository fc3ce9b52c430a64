//! Ends that the endpoints begin (RFC 6455 §5.5.1, §7): by a close frame, an orderly end or a broken
//! connection. `clock_own_close` has the close frames of the proxy's own.

use std::io::ErrorKind::{BrokenPipe, ConnectionReset};

use wsplice::{
    TunnelConfig,
    frame::CloseCode,
    tunnel::{Side, TunnelEnd},
};

use super::{
    clock_kit::{Rig, SIDES, from_side, ms, opposite, secs, steady},
    support::frames::{binary, close, fragments, text},
};

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
async fn an_upstream_that_ends_without_a_close_frame_has_the_client_closed_with_1011() {
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
async fn a_client_that_ends_without_a_close_frame_ends_its_direction_only() {
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
async fn an_end_inside_a_close_frame_is_not_a_clean_close() {
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
async fn a_close_frame_of_the_client_after_a_truncated_frame_is_not_a_clean_close() {
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
async fn a_close_frame_may_follow_an_end_between_fragments() {
    let mut rig = Rig::new(TunnelConfig::new());
    let first = fragments(&["begun", "never ended"]).remove(0);
    rig.passes(Side::Upstream, first).await;
    rig.end(Side::Upstream).finish().await;
    assert_eq!(rig.end(Side::Client).close_code().await, 1011);
}

#[tokio::test(start_paused = true)]
async fn a_broken_upstream_has_the_client_closed_with_1011() {
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
async fn a_side_that_cannot_be_written_to_is_still_read() {
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
async fn a_side_that_cannot_be_written_to_and_sends_nothing_is_lost() {
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
async fn dropping_a_tunnel_sends_nothing() {
    for side in SIDES {
        let (client, mut far_client) = tokio::io::duplex(64);
        let (upstream, mut far_upstream) = tokio::io::duplex(64);
        let tunnel = wsplice::tunnel::Tunnel::new(
            wsplice::connect::Transport::new(client),
            wsplice::connect::Transport::new(upstream),
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

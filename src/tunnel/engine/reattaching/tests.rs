//! Losses of upstreams and their successors, on a paused clock.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    time::timeout,
};

use super::*;
use crate::{
    frame::{CloseFrame, OpCode, Rsv},
    tunnel::{
        ReattachParts, TunnelConfig,
        engine::rig::{End, NEVER, Rig, next, parts, ping, secs},
        keep_alive::KeepAlive,
        reattach::{Reattach, Restoration, UpstreamContext},
        registry::Command,
        report::TunnelReport,
    },
};

#[tokio::test(start_paused = true)]
async fn a_client_keeps_its_connection_when_its_upstream_ends_without_a_close_frame() {
    let mut rig = Rig::new();
    for _ in 0..3 {
        rig.passes_both_ways().await;
        rig.replace();
    }
    rig.passes_both_ways().await;
    let status = rig.registry.list().remove(0);
    assert_eq!(&*status.info.upstream, "next");
    let close = rig.client.close(1000, "");
    rig.client.send(&close).await;
    assert_eq!(rig.upstream.exactly(close.len()).await, close);
    let answer = rig.upstream.close(1000, "");
    rig.upstream.send(&answer).await;
    assert_eq!(rig.client.exactly(answer.len()).await, answer);
    let report = rig.report().await;
    assert_eq!(report.end, TunnelEnd::Closed);
    assert_eq!(report.reattach_refusal, None);
    let changes: Vec<_> = report
        .upstream_changes
        .iter()
        .map(|change| (&*change.from, &*change.to, change.loss))
        .collect();
    let loss = Loss::ClosedWithoutFrame;
    let expected = [
        ("first", "next", loss),
        ("next", "next", loss),
        ("next", "next", loss),
    ];
    assert_eq!(changes, expected);
    assert_eq!(report.client_to_upstream.frames.text, 4);
    assert_eq!(report.upstream_to_client.frames.text, 4);
}

#[tokio::test(start_paused = true)]
async fn a_client_keeps_its_connection_when_its_upstream_does_not_answer_a_ping() {
    let keep_alive = KeepAlive::default().jitter(0.0);
    let config = TunnelConfig::new().upstream_keep_alive(keep_alive);
    let mut rig = Rig::with(config, parts(), 1024);
    let mut next = rig.prepare();
    let pinged = rig.upstream.control().await;
    assert_eq!(pinged.opcode(), OpCode::PING);
    assert_eq!(rig.upstream.rest().await, b"", "dropped");
    assert_eq!(rig.began.elapsed(), secs(30));
    assert_eq!(next.control().await.opcode(), OpCode::PING, "pinged again");
    assert_eq!(rig.began.elapsed(), secs(50));
    rig.upstream = next;
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn a_listed_close_frame_is_kept_from_the_client_and_answered() {
    let mut rig = Rig::new();
    rig.passes_both_ways().await;
    let mut next = rig.prepare();
    let last = rig.upstream.text(b"last");
    let close = rig.upstream.close(1012, "restarting");
    rig.upstream.send(&last).await;
    for byte in &close {
        rig.upstream.send(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.client.exactly(last.len()).await, last);
    let answer = rig.upstream.control().await;
    assert_eq!(answer.close_code(), Some(CloseCode::SERVICE_RESTART));
    std::mem::swap(&mut rig.upstream, &mut next);
    rig.client.is_quiet_for(secs(1)).await;
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_no_frames_while_there_is_no_upstream_is_closed_at_once() {
    let mut rig = Rig::new();
    rig.lose();
    rig.client.is_quiet_for(secs(1)).await;
    // A length of 2^63 or more (RFC 6455 §5.2).
    rig.client
        .send(&[0x82, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        .await;
    let close = rig.client.control().await;
    assert_eq!(close.close_code(), Some(CloseCode::INTERNAL_ERROR));
    assert_eq!(rig.began.elapsed(), secs(1));
    drop(rig.client);
    let report = timeout(NEVER, rig.tunnel).await.unwrap().unwrap();
    assert_eq!(report.reattach_refusal, Some(ReattachRefusal::Opaque));
    assert_eq!(report.end, TunnelEnd::ClosedWithoutFrame(Side::Upstream));
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_that_is_not_listed_ends_the_tunnel() {
    let mut rig = Rig::new();
    let close = rig.upstream.close(1001, "idle");
    rig.upstream.send(&close).await;
    assert_eq!(rig.client.exactly(close.len()).await, close);
    let answer = rig.client.close(1001, "");
    rig.client.send(&answer).await;
    assert_eq!(rig.upstream.exactly(answer.len()).await, answer);
    let report = rig.report().await;
    assert_eq!(
        (report.end, report.initiator),
        (TunnelEnd::Closed, Side::Upstream)
    );
    assert_eq!(report.reattach_refusal, None);
}

#[tokio::test(start_paused = true)]
async fn without_a_next_upstream_the_client_gets_the_close_frame_of_the_loss() {
    let mut rig = Rig::new();
    rig.lose();
    rig.client.is_quiet_for(secs(9)).await;
    rig.refuse(ReattachRefusal::Timeout);
    let close = rig.client.control().await;
    assert_eq!(close.close_code(), Some(CloseCode::INTERNAL_ERROR));
    assert_eq!(rig.began.elapsed(), secs(9));
    let answer = rig.client.close(1011, "");
    rig.client.send(&answer).await;
    let report = rig.report().await;
    assert_eq!(report.end, TunnelEnd::ClosedWithoutFrame(Side::Upstream));
    assert_eq!(report.initiator, Side::Upstream);
    assert_eq!(report.reattach_refusal, Some(ReattachRefusal::Timeout));
    assert!(report.is_upstream_failure() && report.upstream_changes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_a_next_upstream_the_client_gets_the_upstreams_own_close_frame() {
    let mut rig = Rig::new();
    let close = rig.upstream.close(1012, "restarting");
    rig.upstream.send(&close).await;
    rig.client.is_quiet_for(secs(9)).await;
    let held = rig.client.text(b"held");
    rig.client.send(&held).await;
    rig.refuse(ReattachRefusal::Refused);
    assert_eq!(rig.client.exactly(close.len()).await, close);
    let answer = rig.client.close(1012, "");
    rig.client.send(&answer).await;
    assert_eq!(rig.client.rest().await, b"");
    let report = rig.report().await;
    assert_eq!(
        (report.end.clone(), report.initiator),
        (TunnelEnd::Closed, Side::Upstream)
    );
    assert_eq!(report.close_code(), CloseCode::SERVICE_RESTART);
    assert_eq!(report.reattach_refusal, Some(ReattachRefusal::Refused));
}

#[tokio::test(start_paused = true)]
async fn messages_are_held_up_to_a_bound_and_delivered_in_order() {
    let mut reattach = parts();
    reattach.settings = Arc::new(Reattach::new().max_held(4096));
    let mut rig = Rig::with(TunnelConfig::new(), reattach, 1024);
    rig.lose();
    rig.client.is_quiet_for(secs(1)).await;
    let mut sent = Vec::new();
    for number in (0..=255_u8).chain(0..=255) {
        sent.extend(rig.client.text(&[number; 300]));
    }
    let (client, mut writer) = tokio::io::split(rig.client.stream);
    let bytes = sent.clone();
    let written = tokio::spawn(async move {
        writer.write_all(&bytes).await.unwrap();
        writer
    });
    tokio::time::sleep(secs(1)).await;
    assert!(!written.is_finished(), "the client is held up");
    let (mut upstream, near) = duplex(64 * 1024);
    rig.next.send(Ok(next(near))).unwrap();
    let mut received = vec![0; sent.len()];
    upstream.read_exact(&mut received).await.unwrap();
    assert!(received == sent);
    drop((client, written.await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_began_without_an_upstream_goes_on_with_the_next_one() {
    let mut rig = Rig::new();
    rig.lose();
    rig.client.is_quiet_for(secs(1)).await;
    let message = rig.client.text(b"in two parts");
    rig.client.send(&message[..9]).await;
    tokio::time::sleep(secs(1)).await;
    rig.replace();
    assert_eq!(rig.upstream.exactly(9).await, &message[..9]);
    rig.client.send(&message[9..]).await;
    assert_eq!(rig.upstream.exactly(message.len() - 9).await, &message[9..]);
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn whole_messages_that_a_stalled_upstream_did_not_take_go_to_the_next_one() {
    let config = TunnelConfig::new().write_timeout(secs(5));
    let mut rig = Rig::with(config, parts(), 64);
    let taken = rig.client.text(&[b'a'; 56]);
    let control = rig.client.frame(0x8A, b"pong");
    let kept = rig.client.text(&[b'b'; 40]);
    let mut next = rig.prepare();
    // The connection takes 64 bytes: a whole message, and a part of the empty one.
    assert_eq!(taken.len(), 62);
    let padded = rig.client.frame(0x82, b"");
    let sent = [&taken[..], &padded, &control, &kept].concat();
    rig.client.send(&sent).await;
    let close = rig.client.control().await;
    assert_eq!(close.close_code(), Some(CloseCode::INTERNAL_ERROR));
    let answer = rig.client.close(1011, "");
    rig.client.send(&answer).await;
    assert_eq!(next.rest().await, b"");
    let refusal = rig.report().await.reattach_refusal;
    assert_eq!(refusal, Some(ReattachRefusal::ClientMessageCut));

    // Now they end between two messages.
    let config = TunnelConfig::new().write_timeout(secs(5));
    let mut rig = Rig::with(config, parts(), 64);
    let next = rig.prepare();
    let taken = rig.client.text(&[b'a'; 58]);
    assert_eq!(taken.len(), 64);
    rig.client
        .send(&[&taken[..], &control, &kept].concat())
        .await;
    let stalled = std::mem::replace(&mut rig.upstream, next);
    assert_eq!(rig.upstream.exactly(kept.len()).await, kept);
    assert_eq!(rig.began.elapsed(), secs(5));
    drop(stalled);
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_message_ends_the_tunnel_with_its_reason() {
    let table: [(LegId, &[u8], _); 4] = [
        // The header of a text, and a part of it.
        (
            UPSTREAM,
            &[0x81, 5, b'c', b'u'],
            ReattachRefusal::UpstreamMessageCut,
        ),
        // The first fragment.
        (
            UPSTREAM,
            &[0x01, 1, b'c'],
            ReattachRefusal::UpstreamMessageCut,
        ),
        (
            CLIENT,
            &[0x81, 0x85, 0, 0, 0, 0, b'c'],
            ReattachRefusal::ClientMessageCut,
        ),
        (
            CLIENT,
            &[0x01, 0x81, 0, 0, 0, 0, b'c'],
            ReattachRefusal::ClientMessageCut,
        ),
    ];
    for (from, bytes, expected) in table {
        let mut rig = Rig::new();
        let mut next = rig.prepare();
        let (source, sink) = match from {
            CLIENT => (&mut rig.client, &mut rig.upstream),
            UPSTREAM => (&mut rig.upstream, &mut rig.client),
        };
        source.send(bytes).await;
        assert_eq!(sink.exactly(bytes.len()).await, bytes);
        rig.lose();
        assert_eq!(next.rest().await, b"", "no use of it");
        drop(rig.client);
        let report = timeout(NEVER, rig.tunnel).await.unwrap().unwrap();
        assert_eq!(report.reattach_refusal, Some(expected), "{bytes:?}");
        assert_eq!(report.initiator, Side::Upstream);
    }
}

#[tokio::test(start_paused = true)]
async fn a_listed_close_frame_passes_where_a_rule_forbids_another_upstream() {
    let mut rig = Rig::new();
    let cut = rig.client.frame(0x01, b"first fragment");
    rig.client.send(&cut).await;
    rig.upstream.exactly(cut.len()).await;
    let close = rig.upstream.close(1012, "restarting");
    rig.upstream.send(&close).await;
    assert_eq!(rig.client.exactly(close.len()).await, close);
    let answer = rig.client.close(1012, "");
    rig.client.send(&answer).await;
    assert_eq!(rig.upstream.exactly(answer.len()).await, answer);
    let report = rig.report().await;
    assert_eq!(report.end, TunnelEnd::Closed);
    assert_eq!(
        report.reattach_refusal,
        Some(ReattachRefusal::ClientMessageCut)
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_without_an_upstream_is_answered() {
    let mut rig = Rig::new();
    rig.lose();
    rig.client.is_quiet_for(secs(1)).await;
    let close = rig.client.close(1000, "bye");
    rig.client.send(&close).await;
    let answer = rig.client.control().await;
    assert_eq!(answer.close_code(), Some(CloseCode::NORMAL));
    assert_eq!(rig.client.rest().await, b"");
    let report = rig.report().await;
    assert_eq!(
        (report.end.clone(), report.initiator),
        (TunnelEnd::Closed, Side::Client)
    );
    assert_eq!(report.close_code(), CloseCode::NORMAL);
    assert_eq!(report.unanswered_close, None);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_without_an_upstream_ends_the_tunnel() {
    let mut rig = Rig::new();
    rig.lose();
    rig.client.is_quiet_for(secs(1)).await;
    let began = rig.began;
    drop(rig.client);
    let report = timeout(NEVER, rig.tunnel).await.unwrap().unwrap();
    assert_eq!(report.end, TunnelEnd::ClosedWithoutFrame(Side::Client));
    assert_eq!(report.initiator, Side::Client);
    assert_eq!(began.elapsed(), secs(1));
}

#[tokio::test(start_paused = true)]
async fn commands_and_lifetimes_apply_without_an_upstream() {
    let config = TunnelConfig::new()
        .max_lifetime(secs(8))
        .lifetime_jitter(0.0);
    for by_command in [true, false] {
        let mut rig = Rig::with(config.clone(), parts(), 1024);
        rig.lose();
        rig.client.is_quiet_for(secs(1)).await;
        if by_command {
            rig.registry
                .entries()
                .remove(0)
                .send_command(Command::Close {
                    frame: CloseFrame::new(CloseCode::SERVICE_RESTART, ""),
                    end: TunnelEnd::Drained,
                    at: None,
                    until: None,
                });
        }
        let close = rig.client.control().await;
        let answer = rig.client.close(1000, "");
        rig.client.send(&answer).await;
        let elapsed = rig.began.elapsed();
        let report = rig.report().await;
        let (code, end, at) = match by_command {
            true => (CloseCode::SERVICE_RESTART, TunnelEnd::Drained, 1),
            false => (
                CloseCode::GOING_AWAY,
                TunnelEnd::Timeout(Timer::MaxLifetime, Side::Proxy),
                8,
            ),
        };
        assert_eq!(close.close_code(), Some(code));
        assert_eq!((report.end, elapsed), (end, secs(at)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_fourth_loss_within_a_minute_ends_the_tunnel() {
    let mut rig = Rig::new();
    for _ in 0..3 {
        rig.replace();
        rig.passes_both_ways().await;
    }
    let mut next = rig.prepare();
    rig.lose();
    let close = rig.client.control().await;
    assert_eq!(close.close_code(), Some(CloseCode::INTERNAL_ERROR));
    let answer = rig.client.close(1011, "");
    rig.client.send(&answer).await;
    assert_eq!(next.rest().await, b"");
    let report = rig.report().await;
    assert_eq!(report.reattach_refusal, Some(ReattachRefusal::TooOften));
    assert_eq!(report.upstream_changes.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn reserved_bits_are_refused_but_for_those_of_a_known_extension() {
    for (reserved_bits, first, may_change) in [
        (Rsv::NONE, 0xC1, false),
        (Rsv::RSV1, 0xC1, true),
        (Rsv::RSV1, 0xA1, false),
    ] {
        let reattach = ReattachParts {
            reserved_bits,
            ..parts()
        };
        let mut rig = Rig::with(TunnelConfig::new(), reattach, 1024);
        let message = rig.client.frame(first, b"?");
        rig.client.send(&message).await;
        rig.upstream.exactly(message.len()).await;
        rig.replace();
        if may_change {
            rig.passes_both_ways().await;
            continue;
        }
        assert_eq!(rig.client.control().await.opcode(), OpCode::CLOSE);
        drop(rig.client);
        let report = timeout(NEVER, rig.tunnel).await.unwrap().unwrap();
        assert_eq!(report.reattach_refusal, Some(ReattachRefusal::ReservedBits));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_gets_all_that_an_upstream_sent_before_it_could_not_be_written_to() {
    let mut rig = Rig::with(TunnelConfig::new(), parts(), 64 * 1024);
    let large = rig.upstream.text(&[b'a'; 60_000]);
    for _ in 0..3 {
        rig.upstream.send(&large).await;
    }
    rig.lose();
    let waits = rig.client.text(b"waits");
    rig.client.send(&waits).await;
    let mut next = rig.prepare();
    next.is_quiet_for(secs(20)).await;
    for _ in 0..3 {
        assert_eq!(rig.client.exactly(large.len()).await, large);
    }
    assert_eq!(next.exactly(waits.len()).await, waits);
    rig.upstream = next;
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_of_an_upstream_that_failed_ends_the_tunnel_in_its_time() {
    let config = TunnelConfig::new().write_timeout(secs(5));
    let mut rig = Rig::with(config, parts(), 64 * 1024);
    let large = rig.upstream.text(&[b'a'; 60_000]);
    for _ in 0..3 {
        rig.upstream.send(&large).await;
    }
    rig.lose();
    let waits = rig.client.text(b"waits");
    rig.client.send(&waits).await;
    let mut next = rig.prepare();
    assert_eq!(next.rest().await, b"", "no use of it");
    let report = timeout(NEVER, rig.tunnel).await.unwrap().unwrap();
    assert_eq!(report.end, TunnelEnd::Timeout(Timer::Write, Side::Client));
    assert_eq!(rig.began.elapsed(), secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_ends_though_its_last_upstream_broke_within_the_messages_that_are_swallowed() {
    let reattach = ReattachParts {
        settings: Arc::new(Reattach::new().limit(1).swallow(1)),
        ..parts()
    };
    let mut rig = Rig::with(TunnelConfig::new(), reattach, 1024);
    rig.passes_both_ways().await;
    rig.replace();
    rig.client.is_quiet_for(secs(1)).await;
    // The second loss within a minute, before the message that the client must not see.
    let close = rig.upstream.close(1012, "");
    rig.upstream.send(&close).await;
    assert_eq!(rig.client.exactly(close.len()).await, close);
    rig.lose();
    let text = rig.client.text(b"cannot be written");
    rig.client.send(&text).await;
    tokio::time::sleep(secs(1)).await;
    let answer = rig.client.close(1012, "");
    rig.client.send(&answer).await;
    assert_eq!(rig.client.rest().await, b"");
    let report = rig.report().await;
    assert_eq!(report.end, TunnelEnd::Closed);
    assert_eq!(report.reattach_refusal, Some(ReattachRefusal::TooOften));
}

mod pongs;
mod restoration;

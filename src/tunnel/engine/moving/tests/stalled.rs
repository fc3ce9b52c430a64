//! Upstreams that do not take our close frame at once, and endpoints inside a frame.

use std::sync::Arc;

use super::*;
use crate::tunnel::engine::parts::ReattachParts;

/// A tunnel whose upstream takes nothing more after this message, so that the close frame of the move
/// waits.
async fn stalled() -> (Rig, Vec<u8>, End) {
    let mut rig = Rig::with(TunnelConfig::new(), parts(), 64);
    let taken = rig.client.text(&[b'a'; 58]);
    rig.client.send(&taken).await;
    let next = rig.prepare();
    order(&rig);
    rig.client.is_quiet_for(secs(1)).await;
    (rig, taken, next)
}

#[tokio::test(start_paused = true)]
async fn a_move_whose_close_frame_waits_is_neither_called_off_nor_late() {
    for is_called_off in [true, false] {
        let (mut rig, taken, mut next) = stalled().await;
        if is_called_off {
            let entry = rig.registry.entries().remove(0);
            entry.cancel_revocable(Revocable::ByPoolResume);
        } else {
            // Longer than the client may take to end its message, which it has.
            rig.client.is_quiet_for(secs(20)).await;
        }
        let waits = rig.client.text(b"waits");
        rig.client.send(&waits).await;
        assert_eq!(rig.upstream.exactly(taken.len()).await, taken);
        is_left(&mut rig.upstream).await;
        answers_close(&mut rig.upstream).await;
        assert_eq!(rig.upstream.rest().await, b"", "nothing follows a close");
        assert_eq!(next.exactly(waits.len()).await, waits);
        rig.upstream = next;
        rig.passes_both_ways().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_lost_before_it_takes_our_close_frame_leaves_no_trace_of_it() {
    let (mut rig, _, next) = stalled().await;
    rig.upstream.stream.shutdown().await.unwrap();
    rig.upstream = next;
    rig.passes_both_ways().await;
    rig.client.is_quiet_for(secs(60)).await;
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_takes_a_part_of_our_close_frame_gives_way_to_the_next_one() {
    for is_dropped in [true, false] {
        let config = TunnelConfig::new().write_timeout(secs(5));
        let mut rig = Rig::with(config, parts(), 64);
        let taken = rig.client.text(&[b'a'; 48]);
        rig.client.send(&taken).await;
        let next = rig.prepare();
        order(&rig);
        rig.client.is_quiet_for(secs(1)).await;
        let waits = rig.client.text(b"waits");
        rig.client.send(&waits).await;
        let stalled = std::mem::replace(&mut rig.upstream, next);
        let lost_at = match is_dropped {
            true => secs(1),
            false => secs(5),
        };
        let stalled = Some(stalled).filter(|_| !is_dropped);
        assert_eq!(rig.upstream.exactly(waits.len()).await, waits);
        assert_eq!(rig.began.elapsed(), lost_at);
        rig.passes_both_ways().await;
        drop(stalled);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_is_closed_while_our_close_frame_waits_sends_one_close_frame() {
    let (mut rig, taken, mut next) = stalled().await;
    let frame = CloseFrame::new(CloseCode::POLICY_VIOLATION, "");
    let entry = rig.registry.entries().remove(0);
    entry.send_command(Command::requested(frame, None));
    let close = rig.client.control().await;
    assert_eq!(close.close_code(), Some(CloseCode::POLICY_VIOLATION));
    assert_eq!(next.rest().await, b"", "no use of it");
    assert_eq!(rig.upstream.exactly(taken.len()).await, taken);
    is_left(&mut rig.upstream).await;
    answers_close(&mut rig.upstream).await;
    let answer = rig.client.close(1008, "");
    rig.client.send(&answer).await;
    assert_eq!(rig.upstream.rest().await, b"", "one close frame");
    assert_eq!(rig.report().await.end, TunnelEnd::Requested);
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_the_close_frame_of_an_upstream_that_is_about_to_be_left_rfc6455_5_5_1() {
    let mut rig = Rig::new();
    let last = begin_message(&mut rig).await;
    let next = rig.prepare();
    order(&rig);
    rig.client.is_quiet_for(secs(1)).await;
    let expected = [&last[..], &rig.client.close(1000, "")].concat();
    let mut upstream = closes_in_order(rig, next, &last, &expected).await;
    assert_eq!(upstream.rest().await, b"");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_closes_while_our_close_frame_waits_is_the_last_one() {
    let (rig, taken, next) = stalled().await;
    let mut upstream = closes_in_order(rig, next, b"", &taken).await;
    is_left(&mut upstream).await;
    assert_eq!(upstream.rest().await, b"", "one close frame");
}

/// Lets the upstream close when another one is found and has sent a message. The client sends these bytes
/// before its answer, and the upstream gets the expected ones. Returns the upstream's end after the
/// tunnel's.
async fn closes_in_order(mut rig: Rig, mut next: End, sent: &[u8], expected: &[u8]) -> End {
    let first = next.text(b"first");
    next.send(&first).await;
    let close = rig.upstream.close(1000, "");
    rig.upstream.send(&close).await;
    assert_eq!(rig.client.exactly(close.len()).await, close);
    let answer = rig.client.close(1000, "");
    rig.client.send(&[sent, &answer].concat()).await;
    assert_eq!(rig.upstream.exactly(expected.len()).await, expected);
    assert_eq!(rig.client.rest().await, b"", "behind a close");
    assert_eq!(next.rest().await, b"", "no use of it");
    let upstream = std::mem::replace(&mut rig.upstream, next);
    let report = rig.report().await;
    assert_eq!(report.end, TunnelEnd::Closed);
    assert_eq!(report.upstream_changes, []);
    upstream
}

#[tokio::test(start_paused = true)]
async fn first_messages_are_kept_from_a_client_that_has_ended_its_direction() {
    let settings = Arc::new(Reattach::new().swallow(1));
    let reattach = ReattachParts {
        settings,
        ..parts()
    };
    let mut rig = Rig::with(TunnelConfig::new(), reattach, 1024);
    rig.passes_both_ways().await;
    let next = rig.prepare();
    rig.upstream = next;
    rig.client.is_quiet_for(secs(1)).await;
    let _found = rig.prepare();
    order(&rig);
    is_left(&mut rig.upstream).await;
    rig.client.stream.shutdown().await.unwrap();
    rig.client.is_quiet_for(secs(1)).await;
    let frames = [rig.upstream.text(b"first"), rig.upstream.text(b"second")];
    rig.upstream.send(&frames[0][..3]).await;
    rig.client.is_quiet_for(secs(1)).await;
    rig.upstream.send(&frames[0][3..]).await;
    rig.upstream.send(&frames[1]).await;
    assert_eq!(rig.client.exactly(frames[1].len()).await, frames[1]);
}

#[tokio::test(start_paused = true)]
async fn a_pong_of_the_proxy_waits_for_the_end_of_the_upstreams_frame_rfc6455_5_4() {
    let (mut rig, mut next) = left().await;
    let frame = rig.upstream.text(b"in two parts");
    rig.upstream.send(&frame[..5]).await;
    assert_eq!(rig.client.exactly(5).await, frame[..5]);
    let asked = rig.client.frame(0x89, b"?");
    rig.client.send(&asked).await;
    rig.client.is_quiet_for(secs(1)).await;
    rig.upstream.send(&frame[5..]).await;
    assert_eq!(rig.client.exactly(frame.len() - 5).await, frame[5..]);
    assert_eq!(rig.client.control().await, ping(b"?").answer().unwrap());
    answers_close(&mut rig.upstream).await;
    next.is_quiet_for(secs(1)).await;
    rig.upstream = next;
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn a_pong_of_the_proxy_comes_before_the_frames_of_the_next_upstream_rfc6455_5_5_1() {
    let mut rig = Rig::new();
    let large = rig.upstream.text(&[b'a'; 60_000]);
    let all = [&large[..], &large].concat();
    rig.upstream.send(&all).await;
    let mut next = rig.prepare();
    order(&rig);
    is_left(&mut rig.upstream).await;
    // The pong waits behind the messages that the client has not taken.
    let asked = rig.client.frame(0x89, b"?");
    rig.client.send(&asked).await;
    next.is_quiet_for(secs(6)).await;
    let close = next.close(1000, "");
    next.send(&close).await;
    assert_eq!(rig.client.exactly(all.len()).await, all);
    assert_eq!(rig.client.control().await, ping(b"?").answer().unwrap());
    assert_eq!(rig.client.exactly(close.len()).await, close);
    rig.client.is_quiet_for(secs(1)).await;
}

//! Planned moves, on a paused clock.

use tokio::{io::AsyncWriteExt, time::timeout};

use super::*;
use crate::{
    error::Side,
    frame::OpCode,
    tunnel::{
        TunnelConfig,
        engine::rig::{End, NEVER, Rig, parts, ping, secs},
        reattach::{Reattach, ReattachDecision, Restoration},
        registry::{MoveOrder, Revocable},
    },
};

/// Orders the tunnel to move now, or else to close.
fn order(rig: &Rig) {
    order_in(rig, Duration::ZERO);
}

fn order_in(rig: &Rig, after: Duration) {
    let at = Instant::now() + after;
    let frame = CloseFrame::new(CloseCode::SERVICE_RESTART, "upstream draining");
    let otherwise = Some(Command::Close {
        frame,
        end: TunnelEnd::Drained,
        at: Some(at),
        until: None,
    });
    let entry = rig.registry.entries().remove(0);
    entry.send_move(MoveOrder { at, otherwise }, Revocable::ByPoolResume);
}

/// Expects the close frame of a move at the upstream.
async fn is_left(upstream: &mut End) {
    let close = upstream.control().await;
    assert_eq!(close.close_code(), Some(CloseCode::GOING_AWAY));
}

/// A tunnel that has left its upstream, and the next upstream.
async fn left() -> (Rig, End) {
    let mut rig = Rig::new();
    let next = rig.prepare();
    order(&rig);
    is_left(&mut rig.upstream).await;
    (rig, next)
}

async fn answers_close(upstream: &mut End) {
    let answer = upstream.close(1001, "");
    upstream.send(&answer).await;
}

/// Sends the first fragment of a message of the client, and returns the last one.
async fn begin_message(rig: &mut Rig) -> Vec<u8> {
    let first = rig.client.frame(0x01, b"first");
    rig.client.send(&first).await;
    assert_eq!(rig.upstream.exactly(first.len()).await, first);
    rig.client.frame(0x80, b"last")
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_is_moved_keeps_its_client_and_loses_nothing() {
    let mut rig = Rig::new();
    rig.passes_both_ways().await;
    let mut next = rig.prepare();
    order(&rig);
    is_left(&mut rig.upstream).await;
    // What the client says meanwhile waits, and what the upstream still says comes first.
    let waits = rig.client.text(b"waits");
    rig.client.send(&waits).await;
    let last = rig.upstream.text(b"last");
    rig.upstream.send(&last).await;
    assert_eq!(rig.client.exactly(last.len()).await, last);
    let first = next.text(b"first");
    next.send(&first).await;
    next.is_quiet_for(secs(1)).await;
    answers_close(&mut rig.upstream).await;
    assert_eq!(rig.upstream.rest().await, b"");
    assert_eq!(next.exactly(waits.len()).await, waits);
    assert_eq!(rig.client.exactly(first.len()).await, first);
    rig.upstream = next;
    rig.passes_both_ways().await;
    assert_eq!(&*rig.registry.list().remove(0).info.upstream, "next");
}

#[tokio::test(start_paused = true)]
async fn a_move_is_reported_with_the_time_without_an_upstream() {
    let mut rig = Rig::new();
    rig.client.is_quiet_for(secs(3)).await;
    let next = rig.prepare();
    order(&rig);
    is_left(&mut rig.upstream).await;
    rig.client.is_quiet_for(secs(2)).await;
    answers_close(&mut rig.upstream).await;
    let mut old = std::mem::replace(&mut rig.upstream, next);
    assert_eq!(old.rest().await, b"");
    rig.passes_both_ways().await;
    let close = rig.client.close(1000, "");
    rig.client.send(&close).await;
    assert_eq!(rig.upstream.exactly(close.len()).await, close);
    let answer = rig.upstream.close(1000, "");
    rig.upstream.send(&answer).await;
    assert_eq!(rig.client.exactly(answer.len()).await, answer);
    let report = rig.report().await;
    assert_eq!(report.end, TunnelEnd::Closed);
    assert_eq!(report.upstream_changes.len(), 1);
    let change = &report.upstream_changes[0];
    assert_eq!((&*change.from, &*change.to), ("first", "next"));
    assert_eq!(change.loss, Loss::Moved);
    assert_eq!((change.lost_after, change.gap), (secs(3), secs(2)));
}

#[tokio::test(start_paused = true)]
async fn the_upstream_is_left_at_the_end_of_the_clients_message() {
    let mut rig = Rig::new();
    let mut next = rig.prepare();
    let last = begin_message(&mut rig).await;
    order(&rig);
    rig.upstream.is_quiet_for(secs(9)).await;
    // Together with the rest of the message comes another one, and a part of a third.
    let another = rig.client.text(b"another");
    let third = rig.client.text(b"third");
    let sent = [&last[..], &another, &third[..7]].concat();
    rig.client.send(&sent).await;
    assert_eq!(rig.upstream.exactly(last.len()).await, last);
    is_left(&mut rig.upstream).await;
    drop(rig.upstream);
    let expected = [&another[..], &third[..7]].concat();
    assert_eq!(next.exactly(expected.len()).await, expected);
    rig.client.send(&third[7..]).await;
    assert_eq!(next.exactly(third.len() - 7).await, third[7..]);
    rig.upstream = next;
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_ends_inside_a_read_is_the_last_one_for_every_cut() {
    for cut in 1..30 {
        let mut rig = Rig::new();
        let mut next = rig.prepare();
        let messages = [b"one", b"two", b"six"].map(|text| rig.client.text(text));
        let all = messages.concat();
        rig.client.send(&all[..cut.min(all.len())]).await;
        tokio::task::yield_now().await;
        order(&rig);
        tokio::task::yield_now().await;
        rig.client.send(&all[cut.min(all.len())..]).await;
        // The upstream gets whole messages and then the close frame, the next one the others.
        let mut old = Vec::new();
        let close = loop {
            let mut frame = rig.upstream.exactly(2).await;
            if frame[0] == 0x88 {
                frame.extend(rig.upstream.exactly(4 + usize::from(frame[1] & 0x7F)).await);
                break frame;
            }
            frame.extend(rig.upstream.exactly(7).await);
            old.extend(frame);
        };
        assert!(close.len() > 4);
        drop(rig.upstream);
        let rest = next.exactly(all.len() - old.len()).await;
        assert_eq!([old, rest].concat(), all, "{cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_does_not_close_has_5_s_for_its_last_messages() {
    let mut rig = Rig::new();
    let next = rig.prepare();
    order(&rig);
    is_left(&mut rig.upstream).await;
    for _ in 0..4 {
        let message = rig.upstream.text(b"goes on");
        rig.upstream.send(&message).await;
        assert_eq!(rig.client.exactly(message.len()).await, message);
        rig.client.is_quiet_for(secs(1)).await;
    }
    let mut old = std::mem::replace(&mut rig.upstream, next);
    assert_eq!(old.rest().await, b"");
    assert_eq!(rig.began.elapsed(), secs(5));
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_the_upstream_has_begun_may_end_after_5_s() {
    let mut rig = Rig::new();
    let next = rig.prepare();
    order(&rig);
    is_left(&mut rig.upstream).await;
    let message = rig.upstream.text(b"slow message");
    rig.upstream.send(&message[..5]).await;
    assert_eq!(rig.client.exactly(5).await, message[..5]);
    rig.client.is_quiet_for(secs(8)).await;
    rig.upstream.send(&message[5..]).await;
    assert_eq!(rig.client.exactly(message.len() - 5).await, message[5..]);
    rig.upstream = next;
    rig.passes_both_ways().await;
    assert_eq!(rig.began.elapsed(), secs(8));
}

#[tokio::test(start_paused = true)]
async fn without_another_upstream_a_tunnel_is_closed_or_stays_as_ordered() {
    for closes in [true, false] {
        let mut rig = Rig::new();
        rig.refuse(ReattachRefusal::Timeout);
        if closes {
            order(&rig);
            let close = rig.client.control().await;
            assert_eq!(close.close_code(), Some(CloseCode::SERVICE_RESTART));
            drop(rig.client);
            drop(rig.upstream);
            let report = timeout(NEVER, rig.tunnel).await.unwrap().unwrap();
            assert_eq!(report.end, TunnelEnd::Drained);
            assert_eq!(report.reattach_refusal, Some(ReattachRefusal::Timeout));
        } else {
            assert_eq!(rig.registry.move_where(|_| true, Duration::ZERO), 1);
            rig.client.is_quiet_for(secs(1)).await;
            rig.passes_both_ways().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn agreements_that_forbid_another_upstream_forbid_moves() {
    let mut reattach = parts();
    reattach.agreement = Some(ReattachRefusal::ContextTakeover);
    let mut rig = Rig::with(TunnelConfig::new(), reattach, 1024);
    order_in(&rig, secs(3));
    let close = rig.client.control().await;
    assert_eq!(close.close_code(), Some(CloseCode::SERVICE_RESTART));
    assert_eq!(rig.began.elapsed(), secs(3));
    drop((rig.client, rig.upstream));
    let report = timeout(NEVER, rig.tunnel).await.unwrap().unwrap();
    let refusal = Some(ReattachRefusal::ContextTakeover);
    assert_eq!(
        (report.end, report.reattach_refusal),
        (TunnelEnd::Drained, refusal)
    );
}

#[tokio::test(start_paused = true)]
async fn a_move_that_is_called_off_changes_nothing() {
    for is_found in [false, true] {
        let mut rig = Rig::new();
        let last = begin_message(&mut rig).await;
        let next = is_found.then(|| rig.prepare());
        order(&rig);
        rig.client.is_quiet_for(secs(1)).await;
        let entry = rig.registry.entries().remove(0);
        entry.cancel_revocable(Revocable::ByPoolResume);
        rig.client.send(&last).await;
        assert_eq!(rig.upstream.exactly(last.len()).await, last);
        rig.upstream.is_quiet_for(secs(20)).await;
        rig.passes_both_ways().await;
        if let Some(mut next) = next {
            assert_eq!(next.rest().await, b"");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn commands_apply_during_a_move() {
    for is_left_already in [false, true] {
        let mut rig = Rig::new();
        let mut next = rig.prepare();
        if !is_left_already {
            begin_message(&mut rig).await;
        }
        order(&rig);
        rig.client.is_quiet_for(secs(1)).await;
        let frame = CloseFrame::new(CloseCode::POLICY_VIOLATION, "");
        let entry = rig.registry.entries().remove(0);
        entry.send_command(Command::requested(frame, None));
        let close = rig.client.control().await;
        assert_eq!(close.close_code(), Some(CloseCode::POLICY_VIOLATION));
        assert_eq!(next.rest().await, b"", "no use of it");
        let expected = match is_left_already {
            true => CloseCode::GOING_AWAY,
            false => CloseCode::POLICY_VIOLATION,
        };
        let close = rig.upstream.control().await;
        assert_eq!(close.close_code(), Some(expected));
        answers_close(&mut rig.upstream).await;
        let answer = rig.client.close(1008, "");
        rig.client.send(&answer).await;
        let report = rig.report().await;
        assert_eq!(report.end, TunnelEnd::Requested);
        assert_eq!(report.duration, secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn pings_have_their_pongs_over_a_move_rfc6455_5_5_3() {
    let mut rig = Rig::new();
    let asked = rig.client.frame(0x89, b"before");
    rig.client.send(&asked).await;
    assert_eq!(rig.upstream.exactly(asked.len()).await, asked);
    let old_ping = rig.upstream.frame(0x89, b"old");
    rig.upstream.send(&old_ping).await;
    assert_eq!(rig.client.exactly(old_ping.len()).await, old_ping);
    let mut next = rig.prepare();
    order(&rig);
    is_left(&mut rig.upstream).await;
    let pong = rig.upstream.frame(0x8A, b"before");
    rig.upstream.send(&pong).await;
    assert_eq!(rig.client.exactly(pong.len()).await, pong);
    // The upstream gets no frame after our close.
    let frames = [
        rig.client.frame(0x89, b"after"),
        rig.client.frame(0x8A, b"old"),
    ];
    rig.client.send(&frames.concat()).await;
    let answer = ping(b"after").answer().unwrap();
    assert_eq!(rig.client.control().await, answer);
    let last_ping = rig.upstream.frame(0x89, b"last");
    rig.upstream.send(&last_ping).await;
    assert_eq!(rig.client.exactly(last_ping.len()).await, last_ping);
    answers_close(&mut rig.upstream).await;
    assert_eq!(rig.upstream.rest().await, b"");
    let stale = rig.client.frame(0x8A, b"last");
    rig.client.send(&stale).await;
    next.is_quiet_for(secs(1)).await;
    let new_ping = next.frame(0x89, b"new");
    next.send(&new_ping).await;
    assert_eq!(rig.client.control().await.opcode(), OpCode::PING);
    let pong = rig.client.frame(0x8A, b"new");
    rig.client.send(&pong).await;
    assert_eq!(next.exactly(pong.len()).await, pong);
    rig.client.is_quiet_for(secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn pongs_to_an_upstream_that_was_left_are_not_missed_by_the_next_one() {
    let (mut rig, mut next) = left().await;
    let last_ping = rig.upstream.frame(0x89, b"last");
    rig.upstream.send(&last_ping).await;
    assert_eq!(rig.client.exactly(last_ping.len()).await, last_ping);
    let pong = rig.client.frame(0x8A, b"last");
    rig.client.send(&pong).await;
    rig.client.is_quiet_for(secs(1)).await;
    answers_close(&mut rig.upstream).await;
    for payload in [b"1", b"2"] {
        let asked = next.frame(0x89, payload);
        next.send(&asked).await;
        assert_eq!(rig.client.exactly(asked.len()).await, asked);
    }
    for payload in [b"1", b"2"] {
        let pong = rig.client.frame(0x8A, payload);
        rig.client.send(&pong).await;
        assert_eq!(next.exactly(pong.len()).await, pong);
    }
}

#[tokio::test(start_paused = true)]
async fn messages_are_held_up_to_a_bound_during_a_move() {
    let mut reattach = parts();
    reattach.settings = std::sync::Arc::new(Reattach::new().max_held(4096));
    let mut rig = Rig::with(TunnelConfig::new(), reattach, 1024);
    let mut next = rig.prepare();
    order(&rig);
    is_left(&mut rig.upstream).await;
    let sent: Vec<_> = (0..=255).flat_map(|n| rig.client.text(&[n; 300])).collect();
    let (client, mut writer) = tokio::io::split(rig.client.stream);
    let bytes = sent.clone();
    let written = tokio::spawn(async move {
        writer.write_all(&bytes).await.unwrap();
        writer
    });
    tokio::time::sleep(secs(1)).await;
    assert!(!written.is_finished(), "the client is held up");
    answers_close(&mut rig.upstream).await;
    assert!(next.exactly(sent.len()).await == sent);
    drop((client, written.await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn moves_do_not_count_towards_the_limit() {
    let mut rig = Rig::new();
    for _ in 0..5 {
        let next = rig.prepare();
        order(&rig);
        is_left(&mut rig.upstream).await;
        answers_close(&mut rig.upstream).await;
        let mut old = std::mem::replace(&mut rig.upstream, next);
        assert_eq!(old.rest().await, b"");
        rig.passes_both_ways().await;
    }
    rig.upstream = {
        let next = rig.prepare();
        drop(rig.upstream);
        next
    };
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn where_the_host_decides_the_client_is_paused_from_before_the_decision() {
    let mut reattach = parts();
    let decides = |_| async { ReattachDecision::Attach(Restoration::new()) };
    reattach.settings = std::sync::Arc::new(Reattach::new().on_reattach(decides));
    let mut rig = Rig::with(TunnelConfig::new(), reattach, 1024);
    let first = rig.client.frame(0x01, b"first");
    rig.client.send(&first).await;
    assert_eq!(rig.upstream.exactly(first.len()).await, first);
    order(&rig);
    let last = rig.client.frame(0x80, b"last");
    let waits = rig.client.text(b"waits");
    rig.client.send(&[&last[..], &waits].concat()).await;
    assert_eq!(rig.upstream.exactly(last.len()).await, last);
    rig.upstream.is_quiet_for(secs(2)).await;
    let still = rig.upstream.text(b"still here");
    rig.upstream.send(&still).await;
    assert_eq!(rig.client.exactly(still.len()).await, still);
    // Now another upstream is found, or none.
    let mut next = rig.prepare();
    is_left(&mut rig.upstream).await;
    answers_close(&mut rig.upstream).await;
    assert_eq!(next.exactly(waits.len()).await, waits);
    rig.upstream = next;
    rig.passes_both_ways().await;

    rig.registry.move_where(|_| true, Duration::ZERO);
    rig.client.is_quiet_for(secs(1)).await;
    rig.client.send(&waits).await;
    rig.upstream.is_quiet_for(secs(1)).await;
    rig.refuse(ReattachRefusal::Timeout);
    assert_eq!(rig.upstream.exactly(waits.len()).await, waits);
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn a_move_begins_at_its_moment() {
    let mut rig = Rig::new();
    let next = rig.prepare();
    order_in(&rig, secs(7));
    rig.client.is_quiet_for(secs(6)).await;
    rig.passes_both_ways().await;
    is_left(&mut rig.upstream).await;
    assert_eq!(rig.began.elapsed(), secs(7));
    rig.upstream = next;
    rig.passes_both_ways().await;
}

mod ends;
mod stalled;

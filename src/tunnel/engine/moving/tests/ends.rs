//! Ends of a leg, or of a message, during a move.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_message_of_the_upstream_that_never_ends_ends_the_tunnel() {
    let (mut rig, mut next) = left().await;
    let fragment = rig.upstream.frame(0x01, b"first fragment");
    rig.upstream.send(&fragment).await;
    assert_eq!(rig.client.exactly(fragment.len()).await, fragment);
    assert_eq!(next.rest().await, b"", "no use of it");
    let close = rig.client.control().await;
    assert_eq!(close.close_code(), Some(CloseCode::SERVICE_RESTART));
    assert_eq!(rig.began.elapsed(), secs(10));
    let answer = rig.client.close(1012, "");
    rig.client.send(&answer).await;
    answers_close(&mut rig.upstream).await;
    let report = rig.report().await;
    assert_eq!(
        (report.end, report.initiator),
        (TunnelEnd::Drained, Side::Proxy)
    );
    let refusal = Some(ReattachRefusal::UpstreamMessageCut);
    assert_eq!(report.reattach_refusal, refusal);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_end_its_message_is_closed_as_without_moves() {
    let mut rig = Rig::new();
    let mut next = rig.prepare();
    begin_message(&mut rig).await;
    order(&rig);
    assert_eq!(next.rest().await, b"", "no use of it");
    assert_eq!(rig.began.elapsed(), secs(10));
    for end in [&mut rig.client, &mut rig.upstream] {
        let close = end.control().await;
        assert_eq!(close.close_code(), Some(CloseCode::SERVICE_RESTART));
        let answer = end.close(1012, "");
        end.send(&answer).await;
    }
    let report = rig.report().await;
    assert_eq!(report.end, TunnelEnd::Drained);
    let refusal = Some(ReattachRefusal::ClientMessageCut);
    assert_eq!(report.reattach_refusal, refusal);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_lost_before_it_was_left_gives_way_to_the_one_that_was_found() {
    let config = TunnelConfig::new().write_timeout(secs(5));
    let mut rig = Rig::with(config, parts(), 64);
    // The connection takes 64 bytes, a whole message, and the next one waits.
    let taken = rig.client.text(&[b'a'; 58]);
    let waits = rig.client.text(b"waits");
    rig.client.send(&[&taken[..], &waits].concat()).await;
    let next = rig.prepare();
    order(&rig);
    let stalled = std::mem::replace(&mut rig.upstream, next);
    assert_eq!(rig.upstream.exactly(waits.len()).await, waits);
    assert_eq!(rig.began.elapsed(), secs(5));
    drop(stalled);
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn a_close_of_the_client_goes_to_the_next_upstream_after_its_messages() {
    let (mut rig, mut next) = left().await;
    let last = rig.client.text(b"last");
    let close = rig.client.close(1000, "bye");
    rig.client.send(&[&last[..], &close].concat()).await;
    let expected = [&last[..], &close].concat();
    assert_eq!(next.exactly(expected.len()).await, expected);
    let answer = next.close(1000, "");
    next.send(&answer).await;
    assert_eq!(rig.client.exactly(answer.len()).await, answer);
    let report = rig.report().await;
    assert_eq!(
        (report.end.clone(), report.initiator),
        (TunnelEnd::Closed, Side::Client)
    );
    assert_eq!(report.close_code(), CloseCode::NORMAL);
}

#[tokio::test(start_paused = true)]
async fn a_close_of_the_client_within_a_message_of_the_upstream_ends_the_tunnel() {
    let (mut rig, mut next) = left().await;
    let fragment = rig.upstream.frame(0x01, b"first fragment");
    rig.upstream.send(&fragment).await;
    assert_eq!(rig.client.exactly(fragment.len()).await, fragment);
    let close = rig.client.close(1000, "bye");
    rig.client.send(&close).await;
    assert_eq!(next.rest().await, b"", "no use of it");
    let answer = rig.upstream.close(1001, "");
    rig.upstream.send(&answer).await;
    assert_eq!(rig.client.exactly(answer.len()).await, answer);
    let report = rig.report().await;
    assert_eq!(
        (report.end, report.initiator),
        (TunnelEnd::Closed, Side::Client)
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_during_a_move_ends_the_tunnel() {
    for is_left_already in [false, true] {
        let mut rig = Rig::new();
        let mut next = rig.prepare();
        if !is_left_already {
            begin_message(&mut rig).await;
        }
        order(&rig);
        rig.client.is_quiet_for(secs(1)).await;
        drop(rig.client);
        let began = rig.began;
        assert_eq!(next.rest().await, b"", "no use of it");
        drop(rig.upstream);
        let report = timeout(NEVER, rig.tunnel).await.unwrap().unwrap();
        assert_eq!(report.initiator, Side::Client, "{is_left_already}");
        assert_eq!(began.elapsed(), secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_and_leaves_at_once_during_a_move_has_its_last_messages_delivered() {
    let (mut rig, mut next) = left().await;
    let last = rig.client.text(b"last");
    let close = rig.client.close(1000, "bye");
    let sent = [&last[..], &close].concat();
    rig.client.send(&sent).await;
    rig.client.stream.shutdown().await.unwrap();
    assert_eq!(next.rest().await, sent);
    let answer = next.close(1000, "");
    next.send(&answer).await;
    drop(next);
    assert_eq!(rig.client.rest().await, answer);
    let report = rig.report().await;
    assert_eq!(
        (report.end, report.initiator),
        (TunnelEnd::Closed, Side::Client)
    );
}

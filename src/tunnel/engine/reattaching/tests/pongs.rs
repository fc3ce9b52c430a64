//! Pings and pongs over a change of the upstream.

use super::*;

impl Rig {
    /// Passes a control frame from one side to the other.
    async fn passes(&mut self, from: LegId, first: u8, payload: &[u8]) {
        let (from, to) = match from {
            CLIENT => (&mut self.client, &mut self.upstream),
            UPSTREAM => (&mut self.upstream, &mut self.client),
        };
        let frame = from.frame(first, payload);
        from.send(&frame).await;
        assert_eq!(to.exactly(frame.len()).await, frame);
    }

    /// Sends a pong of the client.
    async fn pong(&mut self, payload: &[u8]) {
        let pong = self.client.frame(0x8A, payload);
        self.client.send(&pong).await;
    }
}

fn swallowing(messages: usize) -> ReattachParts {
    ReattachParts {
        settings: Arc::new(Reattach::new().limit(1).swallow(messages)),
        ..parts()
    }
}

#[tokio::test(start_paused = true)]
async fn pings_of_the_client_are_answered_without_an_upstream_rfc6455_5_5_3() {
    let mut rig = Rig::new();
    let unanswered = rig.client.frame(0x89, b"before");
    rig.client.send(&unanswered).await;
    assert_eq!(rig.upstream.exactly(unanswered.len()).await, unanswered);
    rig.lose();
    assert_eq!(
        rig.client.control().await,
        ping(b"before").answer().unwrap()
    );
    for payload in [b"one", b"two"] {
        let frame = rig.client.frame(0x89, payload);
        rig.client.send(&frame).await;
        assert_eq!(rig.client.control().await, ping(payload).answer().unwrap());
    }
    rig.replace();
    rig.passes_both_ways().await;
    let passes = rig.client.frame(0x89, b"three");
    rig.client.send(&passes).await;
    assert_eq!(rig.upstream.exactly(passes.len()).await, passes);
    rig.client.is_quiet_for(secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_was_answered_gets_no_second_pong() {
    let mut rig = Rig::new();
    let asked = rig.client.frame(0x89, b"?");
    rig.client.send(&asked).await;
    rig.upstream.exactly(asked.len()).await;
    let pong = rig.upstream.frame(0x8A, b"?");
    rig.upstream.send(&pong).await;
    assert_eq!(rig.client.exactly(pong.len()).await, pong);
    rig.replace();
    rig.client.is_quiet_for(secs(1)).await;
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn pongs_that_are_due_to_a_lost_upstream_reach_no_other_one() {
    let mut rig = Rig::new();
    for payload in [b"1", b"2"] {
        let ping = rig.upstream.frame(0x89, payload);
        rig.upstream.send(&ping).await;
        assert_eq!(rig.client.exactly(ping.len()).await, ping);
    }
    rig.lose();
    let pong = rig.client.frame(0x8A, b"1");
    rig.client.send(&pong).await;
    tokio::time::sleep(secs(1)).await;
    rig.replace();
    let pong = rig.client.frame(0x8A, b"2");
    rig.client.send(&pong).await;
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn the_client_is_pinged_without_an_upstream() {
    let keep_alive = KeepAlive::default().jitter(0.0);
    let config = TunnelConfig::new().client_keep_alive(keep_alive);
    let mut rig = Rig::with(config, parts(), 1024);
    rig.lose();
    // Data that is held must not keep the pong from being read.
    let held = rig.client.text(b"held");
    rig.client.send(&held).await;
    let pinged = rig.client.control().await;
    assert_eq!(rig.began.elapsed(), secs(20));
    let pong = rig.client.frame(0x8A, pinged.payload());
    rig.client.send(&pong).await;
    rig.client.is_quiet_for(secs(19)).await;
    rig.replace();
    assert_eq!(rig.upstream.exactly(held.len()).await, held);
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn no_pong_that_is_due_to_a_lost_upstream_reaches_another_one_however_many_are_due() {
    let mut rig = Rig::new();
    for number in 0..100 {
        rig.passes(UPSTREAM, 0x89, &[number]).await;
    }
    rig.replace();
    rig.client.is_quiet_for(secs(1)).await;
    for number in 0..100 {
        rig.pong(&[number]).await;
    }
    rig.passes_both_ways().await;
    rig.passes(CLIENT, 0x8A, b"unasked").await;
}

#[tokio::test(start_paused = true)]
async fn the_newest_of_many_pings_is_answered_though_the_lost_upstream_answered_others() {
    let mut rig = Rig::new();
    for number in 0..30 {
        rig.passes(CLIENT, 0x89, &[number]).await;
    }
    for number in 0..20 {
        rig.passes(UPSTREAM, 0x8A, &[number]).await;
    }
    rig.replace();
    assert_eq!(rig.client.control().await, ping(&[29]).answer().unwrap());
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn a_pong_that_no_ping_has_asked_for_does_not_keep_the_proxy_from_answering() {
    let mut rig = Rig::new();
    rig.passes(CLIENT, 0x89, b"?").await;
    rig.passes(UPSTREAM, 0x8A, b"unasked").await;
    rig.replace();
    assert_eq!(rig.client.control().await, ping(b"?").answer().unwrap());
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn a_ping_with_the_payload_of_an_earlier_one_is_answered_in_place_of_a_lost_upstream() {
    let mut rig = Rig::new();
    for payload in [b"1", b"2", b"1"] {
        rig.passes(CLIENT, 0x89, payload).await;
    }
    rig.passes(UPSTREAM, 0x8A, b"1").await;
    rig.replace();
    assert_eq!(rig.client.control().await, ping(b"1").answer().unwrap());
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn a_pong_that_is_due_to_a_lost_upstream_is_none_to_the_equal_pings_of_the_next_one() {
    let mut rig = Rig::new();
    rig.passes(UPSTREAM, 0x89, b"old").await;
    rig.replace();
    for _ in 0..2 {
        rig.passes(UPSTREAM, 0x89, b"").await;
    }
    rig.pong(b"old").await;
    rig.passes(CLIENT, 0x8A, b"").await;
}

#[tokio::test(start_paused = true)]
async fn a_pong_that_is_due_to_a_lost_upstream_is_not_taken_for_one_of_ours() {
    let keep_alive = KeepAlive::default().jitter(0.0);
    let config = TunnelConfig::new().client_keep_alive(keep_alive);
    let mut rig = Rig::with(config, parts(), 1024);
    rig.passes(UPSTREAM, 0x89, b"old").await;
    rig.replace();
    assert_eq!(rig.client.control().await.opcode(), OpCode::PING, "ours");
    rig.pong(b"old").await;
    rig.passes_both_ways().await;
    // None is due any more, so both pongs are for the next upstream.
    for payload in [b"1", b"2"] {
        rig.passes(UPSTREAM, 0x89, payload).await;
    }
    for payload in [b"1", b"2"] {
        rig.passes(CLIENT, 0x8A, payload).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pong_that_is_due_to_a_lost_upstream_reaches_no_other_one_that_closes() {
    let mut rig = Rig::with(TunnelConfig::new(), swallowing(0), 1024);
    rig.passes(UPSTREAM, 0x89, b"old").await;
    rig.replace();
    rig.client.is_quiet_for(secs(1)).await;
    // The second loss within a minute.
    rig.passes(UPSTREAM, 0x88, &1012_u16.to_be_bytes()).await;
    rig.pong(b"old").await;
    rig.passes(CLIENT, 0x88, &1012_u16.to_be_bytes()).await;
}

#[tokio::test(start_paused = true)]
async fn no_pong_of_the_proxy_follows_a_close_frame_that_was_kept_from_a_slow_client_rfc6455_5_5_1()
{
    let mut rig = Rig::new();
    let large = rig.upstream.text(&[b'a'; 50_000]);
    let close = rig.upstream.close(1012, "restarting");
    let all = [&large[..], &large, &close].concat();
    rig.upstream.send(&all).await;
    rig.client.send(&ping(b"?").encode(Some([0; 4]))).await;
    tokio::time::sleep(secs(1)).await;
    rig.refuse(ReattachRefusal::Timeout);
    tokio::time::sleep(secs(1)).await;
    let large = rig.client.exactly(2 * large.len()).await;
    assert!(all.starts_with(&large));
    assert_eq!(rig.client.exactly(close.len()).await, close);
    assert_eq!(rig.client.rest().await, b"");
}

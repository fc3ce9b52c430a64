//! Replayed messages, those of the host, and the tap.

use std::sync::Mutex;

use crate::{
    frame::{Message, mask},
    tunnel::{engine::NextUpstream, info::TunnelInfo, reattach::ClientMessage},
};

use super::*;

/// Settings of a rig.
fn with(settings: Reattach) -> ReattachParts {
    ReattachParts {
        settings: Arc::new(settings),
        reserved_bits: Rsv::RSV1,
        ..parts()
    }
}

fn rig(settings: Reattach) -> Rig {
    Rig::with(TunnelConfig::new(), with(settings), 64 * 1024)
}

impl Rig {
    /// Prepares the next upstream with changes to it, which the tunnel gets when it needs one.
    fn prepare_with(&self, capacity: usize, change: impl FnOnce(&mut NextUpstream)) -> End {
        let (upstream, near) = duplex(capacity);
        let mut next = next(near);
        change(&mut next);
        self.next.send(Ok(next)).unwrap();
        End::new(UPSTREAM, upstream)
    }

    /// Passes a text to the upstream.
    async fn ask(&mut self, text: &str) {
        let message = self.client.text(text.as_bytes());
        self.client.send(&message).await;
        assert_eq!(self.upstream.frame_of(0x81).await, text.as_bytes());
    }

    /// Passes a text to the client.
    async fn respond(&mut self, text: &str) {
        let message = self.upstream.text(text.as_bytes());
        self.upstream.send(&message).await;
        assert_eq!(self.client.frame_of(0x81).await, text.as_bytes());
    }

    /// Expects that the client gets a close frame with this code, and the report this refusal.
    async fn closes_with(mut self, code: u16, refusal: ReattachRefusal) -> TunnelReport {
        let close = self.client.control().await;
        assert_eq!(close.close_code(), Some(CloseCode::new(code)));
        let answer = self.client.close(code, "");
        self.client.send(&answer).await;
        drop(self.upstream.stream);
        let report = timeout(NEVER, self.tunnel).await.unwrap().unwrap();
        assert_eq!(report.reattach_refusal, Some(refusal));
        report
    }
}

impl End {
    /// The payload of the next frame, which begins with this byte.
    async fn frame_of(&mut self, first: u8) -> Vec<u8> {
        let head = self.exactly(2).await;
        assert_eq!(head[0], first, "another frame came");
        let is_masked = head[1] & 0x80 != 0;
        assert_eq!(is_masked, self.leg == UPSTREAM);
        let key = self.exactly(if is_masked { 4 } else { 0 }).await;
        let mut payload = self.exactly(usize::from(head[1] & 0x7F)).await;
        if let Ok(key) = key.try_into() {
            mask::apply(&mut payload, key, 0);
        }
        payload
    }

    async fn texts(&mut self, expected: &[&str]) {
        for text in expected {
            let payload = self.frame_of(0x81).await;
            assert_eq!(String::from_utf8_lossy(&payload), *text);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_clients_first_messages_go_to_each_further_upstream_before_anything_else() {
    let mut rig = rig(Reattach::new().replay(2));
    rig.ask("login").await;
    // In two fragments, with a pong between them; compressed.
    for (first, payload) in [(0x41, b"he"), (0x8A, b"??"), (0x80, b"re")] {
        let frame = rig.client.frame(first, payload);
        rig.client.send(&frame).await;
        assert_eq!(rig.upstream.frame_of(first).await, payload);
    }
    rig.ask("later").await;
    for _ in 0..2 {
        tokio::time::sleep(secs(5)).await;
        rig.lose();
        rig.client.is_quiet_for(secs(1)).await;
        let held = rig.client.text(b"held");
        rig.client.send(&held).await;
        rig.upstream = rig.prepare();
        rig.upstream.texts(&["login"]).await;
        assert_eq!(rig.upstream.frame_of(0x41).await, b"he");
        assert_eq!(rig.upstream.frame_of(0x80).await, b"re");
        rig.upstream.texts(&["held"]).await;
        rig.passes_both_ways().await;
    }
}

#[tokio::test(start_paused = true)]
async fn replayed_frames_are_masked_anew_rfc6455_5_3() {
    let mut rig = rig(Reattach::new().replay(1));
    let message = rig.client.text(b"login");
    rig.client.send(&message).await;
    rig.upstream.exactly(message.len()).await;
    rig.replace();
    let replayed = rig.upstream.exactly(message.len()).await;
    assert_ne!(replayed[2..6], message[2..6]);
}

#[tokio::test(start_paused = true)]
async fn a_first_message_that_waits_for_an_upstream_is_not_replayed_beside_it() {
    let mut rig = rig(Reattach::new().replay(3));
    rig.ask("one").await;
    rig.lose();
    rig.client.is_quiet_for(secs(1)).await;
    let held = rig.client.text(b"two");
    rig.client.send(&held).await;
    tokio::task::yield_now().await;
    rig.replace();
    rig.upstream.texts(&["one", "two"]).await;
    rig.ask("three").await;
    tokio::time::sleep(secs(5)).await;
    rig.replace();
    rig.upstream.texts(&["one", "two", "three"]).await;
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn a_loss_soon_after_a_replay_ends_the_tunnel() {
    for (pause, is_ended) in [(4, true), (5, false)] {
        let mut rig = rig(Reattach::new().replay(1));
        rig.ask("the message that kills").await;
        rig.replace();
        rig.upstream.texts(&["the message that kills"]).await;
        tokio::time::sleep(secs(pause)).await;
        if !is_ended {
            rig.replace();
            rig.upstream.texts(&["the message that kills"]).await;
            rig.passes_both_ways().await;
            continue;
        }
        rig.lose();
        rig.closes_with(1011, ReattachRefusal::LostAfterReplay)
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn first_messages_over_the_bound_end_the_tunnel_at_a_loss() {
    let mut rig = rig(Reattach::new().replay(2).max_replayed(16));
    rig.ask("short").await;
    rig.ask("and another one").await;
    rig.ask("the tunnel goes on").await;
    rig.lose();
    rig.closes_with(1011, ReattachRefusal::ReplayTooLarge).await;
}

#[tokio::test(start_paused = true)]
async fn first_messages_of_further_upstreams_are_kept_from_a_client_that_has_had_them() {
    let mut rig = rig(Reattach::new().swallow(2));
    rig.respond("welcome").await;
    let mut next = rig.prepare();
    rig.lose();
    // Only one, since the client has had no more.
    for (first, payload) in [(0x01, &b"wel"[..]), (0x89, b"?"), (0x80, b"come")] {
        let frame = next.frame(first, payload);
        next.send(&frame).await;
    }
    rig.upstream = next;
    assert_eq!(rig.client.frame_of(0x89).await, b"?");
    rig.respond("ready").await;
    let frames = [rig.upstream.text(b"welcome"), rig.upstream.text(b"ready")].concat();
    let read_ahead = Bytes::copy_from_slice(&frames[..12]);
    let mut next = rig.prepare_with(1024, |next| next.read_ahead = read_ahead);
    rig.lose();
    next.send(&frames[12..]).await;
    rig.upstream = next;
    rig.respond("live").await;
    let report = client_leaves(rig).await;
    assert_eq!(report.upstream_to_client.frames.text, 3);
}

async fn client_leaves(rig: Rig) -> TunnelReport {
    drop(rig.client);
    timeout(NEVER, rig.tunnel).await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn first_messages_of_an_upstream_that_cannot_be_kept_from_the_client_end_the_tunnel() {
    use ReattachRefusal::{SwallowTooLarge, SwallowedContext};
    for (first, context, expected) in [
        (0x81, UpstreamContext::None, Some(SwallowTooLarge)),
        (0xC1, UpstreamContext::Kept, Some(SwallowedContext)),
        (0xC1, UpstreamContext::None, None),
    ] {
        let mut rig = rig(Reattach::new().swallow(1).max_swallowed(5));
        rig.respond("hello").await;
        let mut next = rig.prepare_with(1024, |next| next.context = context);
        rig.lose();
        let message = match first {
            0x81 => next.text(b"hello!"),
            _ => next.frame(first, b"hello"),
        };
        next.send(&message).await;
        rig.upstream = next;
        let Some(expected) = expected else {
            rig.respond("live").await;
            continue;
        };
        let going_away = rig.upstream.control().await;
        assert_eq!(going_away.close_code(), Some(CloseCode::GOING_AWAY));
        let report = rig.closes_with(1011, expected).await;
        assert_eq!(report.upstream_changes.len(), 1);
        assert_eq!(report.end, TunnelEnd::ClosedWithoutFrame(Side::Upstream));
    }
}

#[tokio::test(start_paused = true)]
async fn messages_of_the_host_come_before_held_and_live_ones_in_both_directions() {
    let mut rig = rig(Reattach::new().replay(1));
    rig.ask("login").await;
    rig.lose();
    rig.client.is_quiet_for(secs(1)).await;
    let held = rig.client.text(b"held");
    rig.client.send(&held).await;
    tokio::task::yield_now().await;
    let restoration = Restoration::new()
        .to_upstream(Message::text("subscribe"))
        .to_upstream(Message::binary(vec![1, 2]))
        .to_client(Message::text("notice"));
    let live = rig.upstream.text(b"live");
    rig.upstream = rig.prepare_with(1024, |next| {
        next.restoration = restoration;
        next.read_ahead = live.into();
    });
    rig.upstream.texts(&["login", "subscribe"]).await;
    assert_eq!(rig.upstream.frame_of(0x82).await, [1, 2]);
    rig.upstream.texts(&["held"]).await;
    rig.client.texts(&["notice", "live"]).await;
    rig.passes_both_ways().await;
    let report = client_leaves(rig).await;
    let texts = report.client_to_upstream.frames.text;
    assert_eq!(texts, 3, "those of the endpoints are counted");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_lost_amid_the_hosts_messages_leaves_held_ones_to_the_next() {
    let config = TunnelConfig::new().write_timeout(secs(5));
    let mut rig = Rig::with(config, parts(), 1024);
    rig.lose();
    rig.client.is_quiet_for(secs(1)).await;
    let held = rig.client.text(b"held");
    rig.client.send(&held).await;
    tokio::task::yield_now().await;
    let restore = |next: &mut NextUpstream| {
        next.restoration = Restoration::new().to_upstream(Message::text("subscribe to a topic"));
    };
    // It takes a part of the message.
    let stalled = rig.prepare_with(8, restore);
    rig.client.is_quiet_for(secs(9)).await;
    rig.upstream = rig.prepare_with(1024, restore);
    rig.upstream.texts(&["subscribe to a topic", "held"]).await;
    drop(stalled);
    rig.passes_both_ways().await;
}

#[tokio::test(start_paused = true)]
async fn the_host_closes_a_tunnel_that_lost_its_upstream() {
    let mut rig = Rig::new();
    rig.lose();
    let frame = CloseFrame::new(CloseCode::new(4001), "connect again");
    rig.next
        .send(Err((ReattachRefusal::Hook, Some(frame))))
        .unwrap();
    let report = rig.closes_with(4001, ReattachRefusal::Hook).await;
    assert_eq!(report.proxy_close, Some(CloseCode::new(4001)));
    assert_eq!(report.end, TunnelEnd::ClosedWithoutFrame(Side::Upstream));
}

#[tokio::test(start_paused = true)]
async fn the_host_sees_the_messages_that_an_upstream_was_given_and_no_held_ones() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let shown = Arc::clone(&seen);
    let tap = move |tunnel: &TunnelInfo, message: &ClientMessage| {
        let text = String::from_utf8_lossy(message.bytes()).into_owned();
        shown.lock().unwrap().push(text.clone());
        assert_eq!(&*tunnel.path, "/");
        assert!(text != "panic", "the host's panic");
    };
    let mut rig = rig(Reattach::new().tap(64, tap));
    rig.ask("one").await;
    rig.ask("panic").await;
    rig.lose();
    rig.client.is_quiet_for(secs(1)).await;
    let held = rig.client.text(b"held");
    rig.client.send(&held).await;
    rig.client.is_quiet_for(secs(1)).await;
    let messages = || seen.lock().unwrap().join(", ");
    assert_eq!(messages(), "one, panic");
    let restoration = Restoration::new().to_upstream(Message::text("of the host"));
    rig.upstream = rig.prepare_with(1024, |next| next.restoration = restoration);
    rig.upstream.texts(&["of the host", "held"]).await;
    rig.ask("live").await;
    assert_eq!(messages(), "one, panic, held, live");
}

//! Both WebSocket clients against the axum upstream.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::support::axum_upstream::{self, pushed};
use crate::support::clients::{Client, Fast, Message, Refusal, Tungstenite};
use crate::support::frames::{self, unmasked};
use crate::support::rng::payload;
use crate::support::scripts::{self, Then};
use crate::support::upstream::{RawUpstream, closed_addr, switching_protocols};

#[tokio::test]
async fn tungstenite_does_it_all() {
    all_endpoints::<Tungstenite>().await;
    pings_are_shown_and_answered::<Tungstenite>().await;
    refusals_are_told_apart::<Tungstenite>().await;
    a_lost_connection_is_no_close::<Tungstenite>().await;
}

#[tokio::test]
async fn fastwebsockets_does_it_all() {
    all_endpoints::<Fast>().await;
    pings_are_shown_and_answered::<Fast>().await;
    refusals_are_told_apart::<Fast>().await;
    a_lost_connection_is_no_close::<Fast>().await;
}

async fn all_endpoints<C: Client>() {
    let server = axum_upstream::start().await;

    let mut client = C::connect(server.addr(), "/ws/echo").await;
    client.send_text("hällo").await;
    assert_eq!(client.next().await, text("hällo"));
    let large = Bytes::from(payload(1, 1 << 20));
    client.send_binary(large.clone()).await;
    assert_eq!(client.next().await, Message::Binary(large));
    client.send_ping("are you there?").await;
    assert_eq!(client.next().await, Message::Pong("are you there?".into()));
    client.send_close(4321, "enough").await;
    assert_eq!(client.next().await, close(4321, "enough"));
    assert!(matches!(client.next().await, Message::Gone(_)));

    let mut client = C::connect(server.addr(), "/ws/close/4001/not%20now").await;
    assert_eq!(client.next().await, close(4001, "not now"));

    let mut client = C::connect(server.addr(), "/ws/push/3/70000").await;
    for index in 0..3 {
        let expected = Message::Binary(pushed(index, 70_000).into());
        assert_eq!(client.next().await, expected);
    }

    let offer = [("sec-websocket-protocol", "superchat, v9")];
    let mut client = connect_with::<C>(server.addr(), "/ws/sub", &offer).await;
    assert_eq!(client.headers()["sec-websocket-protocol"], "superchat");
    assert_eq!(client.next().await, text("superchat"));
    let mut client = C::connect(server.addr(), "/ws/sub").await;
    assert_eq!(client.next().await, text("none"));

    let extra = [("x-one", "1"), ("x-two", "2")];
    let mut client = connect_with::<C>(server.addr(), "/ws/headers", &extra).await;
    let Message::Text(lines) = client.next().await else {
        panic!("expected the headers");
    };
    assert!(lines.contains("\nx-one: 1\n"), "{lines}");
    assert!(lines.contains("\nx-two: 2\n"), "{lines}");
    client.send_text("and echo").await;
    assert_eq!(client.next().await, text("and echo"));
}

async fn pings_are_shown_and_answered<C: Client>() {
    let ping = unmasked(frames::ping(b"you?"));
    let upstream = RawUpstream::start(scripts::answer(
        move |head| {
            let accepted = switching_protocols(head, &[]);
            [accepted, ping.clone()].concat()
        },
        Then::Hold,
    ))
    .await;
    let mut client = C::connect(upstream.addr(), "/").await;
    assert_eq!(client.next().await, Message::Ping("you?".into()));
    let pong = frames::masked(frames::pong(b"you?")).len();
    upstream
        .wait_for("a pong", |log| log.after_head == pong)
        .await;
}

async fn refusals_are_told_apart<C: Client>() {
    let answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    let upstream = RawUpstream::start(scripts::fixed(answer, Then::Close)).await;
    let refusal = C::try_connect(upstream.addr(), "/", &[]).await.err();
    assert_eq!(refusal, Some(Refusal::Status(403)));
    let refusal = C::try_connect(closed_addr().await, "/", &[]).await.err();
    assert!(matches!(refusal, Some(Refusal::Broken(_))), "{refusal:?}");
}

async fn a_lost_connection_is_no_close<C: Client>() {
    let upstream = RawUpstream::start(scripts::answer(
        |head| switching_protocols(head, &[]),
        Then::Close,
    ))
    .await;
    let mut client = C::connect(upstream.addr(), "/").await;
    assert!(matches!(client.next().await, Message::Gone(_)));
}

async fn connect_with<C: Client>(addr: SocketAddr, path: &str, extra: &[(&str, &str)]) -> C {
    match C::try_connect(addr, path, extra).await {
        Ok(client) => client,
        Err(refusal) => panic!("expected a 101, got {refusal:?}"),
    }
}

fn text(text: &str) -> Message {
    Message::Text(text.to_owned())
}

fn close(code: u16, reason: &str) -> Message {
    Message::Close(Some((code, reason.to_owned())))
}

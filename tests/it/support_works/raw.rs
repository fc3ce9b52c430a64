//! A raw client against a scripted upstream.

use crate::support::deadline::within;
use crate::support::frames::{self, masked, read_frame, unmasked};
use crate::support::head::Head;
use crate::support::raw::{ACCEPT, KEY, RawClient, handshake_request, request};
use crate::support::rng::{Checksum, Xorshift, payload};
use crate::support::scripts::{self, Then};
use crate::support::upstream::{RawConn, RawUpstream, closed_addr};

#[tokio::test]
async fn echo_gives_back_every_byte_and_the_log_counts_them() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let mut client = RawClient::open(upstream.addr(), "/ws/a?b=c").await;

    client.send(b"over and out").await;
    assert_eq!(client.peek(4).await, b"over");
    assert_eq!(&client.read_exact(12).await[..], b"over and out");

    client.fin().await;
    client.expect_eof().await;
    let log = upstream
        .wait_for("the script's end", |log| log.ended == 1)
        .await;
    assert_eq!((log.accepted, log.after_head), (1, 12));
    assert_eq!(log.heads[0].method(), "GET");
    assert_eq!(log.heads[0].target(), "/ws/a?b=c");
    assert_eq!(log.heads[0].get("Sec-WebSocket-Key"), Some(KEY));
    assert_eq!(upstream.url(), format!("ws://{}", upstream.addr()));
}

#[tokio::test]
async fn frames_are_read_as_they_were_built() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let mut client = RawClient::open(upstream.addr(), "/").await;

    for len in [0, 1, 125, 126, 65_535, 65_536] {
        let sent = masked(frames::binary(&payload(7, len)));
        let back = client.exchange(&sent, sent.len()).await;
        assert_eq!(back, sent);
        client.send(&sent).await;
        let frame = read_frame(&mut client).await;
        assert_eq!(frame.payload, payload(7, len));
        assert_eq!(frame.mask, Some(frames::MASK));
        assert_eq!(frame.raw, sent);
    }

    let odd = unmasked(frames::odd(0b0101_1011, b"?"));
    client.send(&odd).await;
    let frame = read_frame(&mut client).await;
    assert_eq!((frame.first, frame.opcode()), (0b0101_1011, 11));
    assert_eq!((frame.is_final(), frame.mask), (false, None));

    client.send(&masked(frames::close(1001, "going"))).await;
    let close = read_frame(&mut client).await.close();
    assert_eq!(close, Some((1001, "going".to_owned())));
    client.send(&unmasked(frames::odd(0x88, b""))).await;
    assert_eq!(read_frame(&mut client).await.close(), None);
}

#[tokio::test]
async fn fragments_make_one_message_with_a_ping_between() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let mut client = RawClient::open(upstream.addr(), "/").await;

    let mut parts = frames::fragments(&["one ", "two ", "three"]);
    parts.insert(1, frames::ping(b"still there?"));
    parts.push(frames::pong(b"yes"));
    let bytes: Vec<u8> = parts.into_iter().flat_map(masked).collect();
    client.send(&bytes).await;

    let mut firsts = Vec::new();
    for _ in 0..5 {
        firsts.push(read_frame(&mut client).await.first);
    }
    assert_eq!(firsts, [0x01, 0x89, 0x00, 0x80, 0x8A]);
}

#[tokio::test]
async fn long_streams_are_compared_by_their_checksum() {
    let upstream = RawUpstream::start(|mut conn: RawConn| async move {
        let head = conn.read_request_head().await;
        conn.accept_101(&head, &[]).await;
        let mut numbers = Xorshift::new(3);
        for _ in 0..100 {
            let len = numbers.below(50_000);
            conn.send(&payload(4, 50_000)[len..]).await;
        }
    })
    .await;
    let mut client = RawClient::open(upstream.addr(), "/").await;

    let mut numbers = Xorshift::new(3);
    let mut expected = Checksum::new();
    let mut total = 0;
    for _ in 0..100 {
        let len = numbers.below(50_000);
        expected.update(&payload(4, 50_000)[len..]);
        total += 50_000 - len;
    }
    assert_eq!(client.read_checksum(total).await, expected);
    assert_ne!(expected, Checksum::of(b"something else"));
    client.expect_eof().await;
}

#[tokio::test]
async fn what_follows_a_101_in_its_segment_is_kept() {
    let frame = unmasked(frames::text("first"));
    let upstream = RawUpstream::start(scripts::accept_and(frame.clone())).await;
    let mut client = RawClient::open(upstream.addr(), "/").await;
    assert_eq!(client.ahead(), frame, "one segment");
    assert_eq!(read_frame(&mut client).await.payload, b"first");
}

#[tokio::test]
async fn a_101_and_a_frame_may_dribble() {
    let upstream = RawUpstream::start(scripts::dribble(unmasked(frames::text("slow")))).await;
    let mut client = RawClient::open(upstream.addr(), "/").await;
    assert_eq!(read_frame(&mut client).await.payload, b"slow");
}

#[tokio::test]
async fn wrong_answers_are_wrong_in_the_way_their_name_says() {
    let head = shake(scripts::wrong_accept()).await;
    assert_ne!(head.get("sec-websocket-accept"), Some(ACCEPT));

    let head = shake(scripts::unoffered_subprotocol()).await;
    assert_eq!(head.get("sec-websocket-accept"), Some(ACCEPT));
    assert_eq!(head.get("sec-websocket-protocol"), Some("unoffered"));

    let head = shake(scripts::unoffered_extension()).await;
    assert_eq!(head.get("sec-websocket-extensions"), Some("x-unoffered"));

    let head = shake(scripts::huge_headers(100_000)).await;
    assert_eq!(head.status(), 101);
    assert_eq!(head.all("x-padding").count(), 100);
    assert!(head.raw.len() > 100_000);
}

#[tokio::test]
async fn interim_responses_come_before_the_101() {
    let upstream = RawUpstream::start(scripts::informational()).await;
    let mut client = RawClient::connect(upstream.addr()).await;
    let interim = client.handshake("/", &[]).await;
    assert_eq!(interim.status(), 100);
    assert_eq!(client.read_body(&interim).await, "");
    assert_eq!(client.read_head().await.status(), 103);
    assert_eq!(client.read_head().await.status(), 101);
}

#[tokio::test]
async fn bodies_end_where_their_head_says() {
    for (answer, body) in [
        ("HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nsorry", "sorr"),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\n\r\nto the end", "to the end"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n",
            "abc0123456789",
        ),
    ] {
        let upstream = RawUpstream::start(scripts::fixed(answer, Then::Close)).await;
        let mut client = RawClient::connect(upstream.addr()).await;
        client.send_request("/", &[("X-One", "1")]).await;
        let head = client.read_head().await;
        assert_eq!(client.read_body(&head).await, body, "{answer:?}");
        let seen = &upstream.log().heads[0];
        assert_eq!(seen.raw, request("/", &[("X-One", "1")]));
    }
}

#[tokio::test]
async fn garbage_is_no_http_and_the_same_for_the_same_seed() {
    let upstream = RawUpstream::start(scripts::garbage(1)).await;
    let mut client = RawClient::connect(upstream.addr()).await;
    client.send_request("/", &[]).await;
    assert_eq!(client.read_exact(2048).await, payload(1, 2048));
}

#[tokio::test]
async fn silence_reads_and_says_nothing() {
    let upstream = RawUpstream::start(scripts::silence()).await;
    let mut client = RawClient::connect(upstream.addr()).await;
    client.send(&handshake_request("/", &[])).await;
    client.send(b"anyone?").await;
    upstream
        .wait_for("seven bytes", |log| log.after_head == 7)
        .await;
    client.fin().await;
    client.expect_eof().await;
}

#[tokio::test]
async fn a_reset_reaches_the_other_side_in_both_directions() {
    let upstream = RawUpstream::start(|mut conn: RawConn| async move {
        let head = conn.read_request_head().await;
        conn.accept_101(&head, &[]).await;
        conn.expect_reset().await;
    })
    .await;
    RawClient::open(upstream.addr(), "/").await.reset();
    upstream.wait_for("the reset", |log| log.ended == 1).await;

    let upstream = RawUpstream::start(|mut conn: RawConn| async move {
        conn.read_request_head().await;
        conn.reset();
    })
    .await;
    let mut client = RawClient::connect(upstream.addr()).await;
    client.send_request("/", &[]).await;
    client.expect_reset().await;
}

#[tokio::test]
async fn a_handshake_can_be_bent() {
    let bent = handshake_request("/", &[("sec-websocket-version", "8"), ("Origin", "x")]);
    let head = Head::parse(&bent).expect("a whole head");
    assert_eq!(head.all("Sec-WebSocket-Version").collect::<Vec<_>>(), ["8"]);
    assert_eq!(head.get("origin"), Some("x"));
    assert_eq!(Head::parse(&bent[..bent.len() - 1]), None);
}

#[tokio::test]
#[should_panic(expected = "the upstream's script failed: expected 1 request")]
async fn a_script_that_panics_fails_the_test() {
    let upstream = RawUpstream::start(|_conn| async { panic!("expected {} request", 1) }).await;
    let _client = RawClient::connect(upstream.addr()).await;
    upstream
        .wait_for("the script's end", |log| log.ended == 1)
        .await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "waited 10s in vain for a second sock")]
async fn a_wait_in_vain_says_what_for() {
    within("a second sock", std::future::pending::<()>()).await;
}

#[tokio::test]
#[should_panic(expected = "the connection ended; awaited 5 bytes, 2 have come")]
async fn an_early_end_says_what_is_missing() {
    let upstream = RawUpstream::start(scripts::fixed("hi", Then::Close)).await;
    let mut client = RawClient::connect(upstream.addr()).await;
    client.send_request("/", &[]).await;
    client.read_exact(5).await;
}

#[tokio::test]
async fn a_dropped_upstream_closes_its_connections_and_its_port() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let addr = upstream.addr();
    let mut client = RawClient::open(addr, "/").await;
    drop(upstream);
    client.expect_eof().await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    assert!(
        tokio::net::TcpStream::connect(closed_addr().await)
            .await
            .is_err()
    );
}

/// The first head that an upstream with this script sends in response to a handshake.
async fn shake(script: impl Fn(RawConn) -> scripts::Running + Send + 'static) -> Head {
    let upstream = RawUpstream::start(script).await;
    let mut client = RawClient::connect(upstream.addr()).await;
    client.handshake("/", &[]).await
}

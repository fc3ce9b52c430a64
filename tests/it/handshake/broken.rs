//! Upstreams that break the handshake: by garbage, by silence, by leaving, by never ending.

use std::time::Duration;

use wsplice::ErrorKind;

use super::kit::{Proxied, expect_page, text};
use crate::support::scripts::{self, Running, Then};
use crate::support::upstream::{RawConn, RawUpstream, switching_protocols};

/// Short enough to wait for, long enough to fire only where nothing arrives.
const SHORT: Duration = Duration::from_millis(50);

/// Expects that this script's response cannot be used, which costs the client a 502.
async fn bad_gateway<S>(script: S)
where
    S: Fn(RawConn) -> Running + Send + 'static,
{
    let sentence = "the upstream's handshake response cannot be used\n";
    fails(script, ErrorKind::Handshake, sentence).await;
}

/// Expects that this script ends without a byte of a response, which costs the client a 502.
async fn no_response<S>(script: S)
where
    S: Fn(RawConn) -> Running + Send + 'static,
{
    let sentence = "the upstream closed the connection without a response\n";
    fails(script, ErrorKind::NoResponse, sentence).await;
}

/// Expects that this script costs the client a 502 and nothing more, with a failure of this kind,
/// and that the upstream's connection is closed.
async fn fails<S>(script: S, kind: ErrorKind, sentence: &str)
where
    S: Fn(RawConn) -> Running + Send + 'static,
{
    let upstream = RawUpstream::start(script).await;
    let proxied = Proxied::before(&upstream).await;
    let (mut client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 502);
    let body = text(&mut client, &head).await;
    assert_eq!(body, sentence);
    let failed = format!("failed /ws/x {kind:?} {}", upstream.addr());
    proxied.expect_events(&[&failed]).await;
    let log = upstream.wait_for("its end", |log| log.ended == 1).await;
    assert_eq!(log.accepted, 1, "no upstream is tried twice");
    expect_page(&mut client).await;
    proxied.expect_idle().await;
}

/// Expects that this script costs the client a 504, and that the upstream's connection is closed.
async fn handshake_timeout<S>(script: S)
where
    S: Fn(RawConn) -> Running + Send + 'static,
{
    let upstream = RawUpstream::start(script).await;
    let proxied = Proxied::with(&upstream, |layer| layer.handshake_timeout(SHORT)).await;
    let (mut client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 504);
    let body = text(&mut client, &head).await;
    assert_eq!(body, "the upstream's handshake response timed out\n");
    let failed = format!("failed /ws/x HandshakeTimeout {}", upstream.addr());
    proxied.expect_events(&[&failed]).await;
    let log = upstream.wait_for("its end", |log| log.ended == 1).await;
    assert_eq!(log.accepted, 1, "nothing is retried once bytes were sent");
    expect_page(&mut client).await;
    proxied.expect_idle().await;
}

fn fixed(bytes: &'static str, then: Then) -> impl Fn(RawConn) -> Running {
    scripts::fixed(bytes, then)
}

#[tokio::test]
async fn garbage() {
    for seed in 1..=4 {
        bad_gateway(scripts::garbage(seed)).await;
    }
    bad_gateway(fixed("SSH-2.0-OpenSSH_9.6\r\n", Then::Hold)).await;
    bad_gateway(fixed(
        "HTTP/2.0 101 Switching Protocols\r\n\r\n",
        Then::Hold,
    ))
    .await;
    bad_gateway(fixed("HTTP/1.1 1o1 Switching\r\n\r\n", Then::Hold)).await;
    bad_gateway(fixed("HTTP/1.1 99 Low\r\n\r\n", Then::Hold)).await;
    bad_gateway(fixed(
        "HTTP/1.1 403 No\r\nContent-Length: x\r\n\r\n",
        Then::Hold,
    ))
    .await;
    bad_gateway(fixed(
        "HTTP/1.1 101 Yes\r\nBad Header: x\r\n\r\n",
        Then::Hold,
    ))
    .await;
}

#[tokio::test]
async fn a_close_without_an_answer() {
    no_response(fixed("", Then::Close)).await;
}

#[tokio::test]
async fn a_close_in_the_middle_of_the_head() {
    bad_gateway(fixed("HTTP/1.1 101 Switching Proto", Then::Close)).await;
    bad_gateway(fixed(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n",
        Then::Close,
    ))
    .await;
    bad_gateway(fixed("HTTP/1.1 100 Continue\r\n\r\n", Then::Close)).await;
}

#[tokio::test]
async fn a_reset_instead_of_an_answer() {
    no_response(|mut conn: RawConn| {
        Box::pin(async move {
            conn.read_request_head().await;
            conn.reset();
            Ok(())
        }) as Running
    })
    .await;
}

#[tokio::test]
async fn a_head_that_is_too_large() {
    bad_gateway(scripts::huge_headers(80 * 1024)).await;
    bad_gateway(scripts::huge_headers(4 * 1024 * 1024)).await;
}

#[tokio::test]
async fn a_head_of_too_many_lines() {
    bad_gateway(scripts::answer(
        |head| switching_protocols(head, &[("X-Line", "x"); 200]),
        Then::Hold,
    ))
    .await;
}

#[tokio::test]
async fn a_head_line_without_end() {
    bad_gateway(|mut conn: RawConn| {
        Box::pin(async move {
            conn.read_request_head().await;
            conn.try_send(b"HTTP/1.1 101 Switching Protocols\r\nX: ")
                .await?;
            while conn.try_send(&[b'x'; 4096]).await.is_ok() {}
            Ok(())
        }) as Running
    })
    .await;
}

#[tokio::test]
async fn the_limits_on_the_head_are_the_users() {
    let upstream = RawUpstream::start(scripts::huge_headers(12_000)).await;
    let proxied = Proxied::with(&upstream, |layer| layer.max_response_head(100, 8 * 1024)).await;
    let (_client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 502);

    let proxied = Proxied::with(&upstream, |layer| layer.max_response_head(10, 64 * 1024)).await;
    let (_client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 502);

    let proxied = Proxied::before(&upstream).await;
    let (_client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 101);

    let upstream = RawUpstream::start(scripts::huge_headers(120_000)).await;
    let proxied = Proxied::with(&upstream, |layer| layer.max_response_head(200, 256 * 1024)).await;
    let (_client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 101);
}

#[tokio::test]
async fn silence() {
    handshake_timeout(scripts::silence()).await;
}

#[tokio::test]
async fn silence_in_the_middle_of_the_head() {
    handshake_timeout(fixed("HTTP/1.1 101 Switching Protocols\r\nUpg", Then::Hold)).await;
    handshake_timeout(fixed("HTTP/1.1 100 Continue\r\n\r\n", Then::Hold)).await;
}

#[tokio::test]
async fn interim_answers_without_end() {
    handshake_timeout(|mut conn: RawConn| {
        Box::pin(async move {
            conn.read_request_head().await;
            while conn
                .try_send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
                .await
                .is_ok()
            {
                tokio::task::yield_now().await;
            }
            Ok(())
        }) as Running
    })
    .await;
}

#[tokio::test]
async fn a_head_that_dribbles_forever() {
    handshake_timeout(|mut conn: RawConn| {
        Box::pin(async move {
            conn.read_request_head().await;
            conn.try_send(b"HTTP/1.1 101 Switching Protocols\r\nX: ")
                .await?;
            // A byte now and then never adds up to too large a head here.
            let mut tick = tokio::time::interval(Duration::from_millis(5));
            while conn.try_send(b"x").await.is_ok() {
                tick.tick().await;
            }
            Ok(())
        }) as Running
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_comes_byte_by_byte_is_an_answer() {
    let upstream = RawUpstream::start(scripts::dribble(&b"first"[..])).await;
    let proxied = Proxied::before(&upstream).await;
    let mut client = proxied.open("/ws/x").await;
    assert_eq!(&client.read_exact(5).await[..], b"first");
    client.send(b"second").await;
    assert_eq!(&client.read_exact(6).await[..], b"second");
}

#[tokio::test]
async fn interim_answers_before_the_101_are_skipped_rfc9110_15_2() {
    let upstream = RawUpstream::start(scripts::informational()).await;
    let proxied = Proxied::before(&upstream).await;
    let mut client = proxied.open("/ws/x").await;
    client.send(b"bytes").await;
    assert_eq!(&client.read_exact(5).await[..], b"bytes");
}

#[tokio::test]
async fn an_answer_before_the_request_counts_for_nothing() {
    // The upstream sends first: its bytes cannot be a response.
    let upstream = RawUpstream::start(|mut conn: RawConn| async move {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let _ = conn.try_send(answer.as_bytes()).await;
        let _ = conn.try_read_request_head().await;
        conn.expect_eof().await;
    })
    .await;
    let proxied = Proxied::before(&upstream).await;
    let (_client, head) = proxied.handshake("/ws/x", &[]).await;
    assert!(matches!(head.status(), 200 | 502), "{head:?}");
    proxied.expect_idle().await;
    assert_eq!(proxied.open_tunnels(), 0);
}

//! Refusals of the upstream: the response is relayed, and the client's connection goes on.

use std::sync::Arc;

use tokio::sync::Notify;

use wsplice::{Admission, Pool, Retry, pool::RetryOn};

use super::kit::{Host, Proxied, expect_page, pool, text, values};
use crate::support::deadline::within;
use crate::support::head::Head;
use crate::support::raw::handshake_request;
use crate::support::scripts::{self, Then};
use crate::support::upstream::{RawConn, RawUpstream};

/// Relays this response and returns the client's; checks all that holds for every refusal.
async fn relayed(answer: &str, status: u16, body: &str) -> Head {
    let upstream = RawUpstream::start(scripts::fixed(answer.to_owned(), Then::Hold)).await;
    let proxied = Proxied::before(&upstream).await;
    let (mut client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), status, "{answer}");
    assert_eq!(text(&mut client, &head).await, body, "{answer}");
    let event = format!("refused /ws/x {status}");
    proxied.expect_events(&[&event]).await;
    let log = upstream
        .wait_for("the end of its connection", |log| log.ended == 1)
        .await;
    assert_eq!((log.accepted, log.after_head), (1, 0), "{answer}");
    expect_page(&mut client).await;
    proxied.expect_idle().await;
    head
}

#[tokio::test]
async fn a_200_is_no_agreement() {
    // With all the headers of a 101: only the status opens a tunnel.
    let head = relayed(
        "HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nContent-Length: 5\r\n\r\nhello",
        200,
        "hello",
    )
    .await;
    assert_eq!((head.get("upgrade"), head.get("connection")), (None, None));
}

#[tokio::test]
async fn a_204_has_no_body() {
    relayed("HTTP/1.1 204 No Content\r\nX-App: 1\r\n\r\n", 204, "").await;
}

#[tokio::test]
async fn a_304_has_no_body() {
    relayed("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n", 304, "").await;
}

#[tokio::test]
async fn a_redirect_keeps_its_location() {
    let head = relayed(
        "HTTP/1.1 302 Found\r\nLocation: https://login.test/?to=%2Fws\r\nContent-Length: 0\r\n\r\n",
        302,
        "",
    )
    .await;
    assert_eq!(head.get("location"), Some("https://login.test/?to=%2Fws"));
}

#[tokio::test]
async fn a_401_keeps_its_challenge_its_cookies_and_its_body() {
    let head = relayed(
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"chat\"\r\n\
         Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Type: text/html\r\n\
         Content-Length: 13\r\n\r\nwho are you?\n",
        401,
        "who are you?\n",
    )
    .await;
    assert_eq!(head.get("www-authenticate"), Some("Basic realm=\"chat\""));
    assert_eq!(values(&head, "set-cookie"), ["a=1", "b=2"]);
    assert_eq!(head.get("content-type"), Some("text/html"));
    assert_eq!(head.get("content-length"), Some("13"));
}

#[tokio::test]
async fn errors_are_the_upstream_s_own() {
    for (status, reason) in [
        (400, "Bad Request"),
        (403, "Forbidden"),
        (404, "Not Found"),
        (500, "Internal Server Error"),
        (503, "Service Unavailable"),
    ] {
        let answer =
            format!("HTTP/1.1 {status} {reason}\r\nX-App: 1\r\nContent-Length: 2\r\n\r\nno");
        let head = relayed(&answer, status, "no").await;
        assert_eq!(head.get("x-app"), Some("1"));
    }
}

#[tokio::test]
async fn a_426_says_again_what_to_upgrade_to_rfc9110_15_5_22() {
    let head = relayed(
        "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13, 8\r\nContent-Length: 3\r\n\r\n426",
        426,
        "426",
    )
    .await;
    assert_eq!(values(&head, "upgrade"), ["websocket"]);
    assert_eq!(values(&head, "connection"), ["Upgrade"]);
    assert_eq!(values(&head, "sec-websocket-version"), ["13, 8"]);
}

#[tokio::test]
async fn a_chunked_body_arrives() {
    relayed(
        "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n\
         3;x=y\r\nno,\r\n9\r\n not here\r\n0\r\n\r\n",
        403,
        "no, not here",
    )
    .await;
}

#[tokio::test]
async fn an_answer_in_http_1_0_is_told_in_http_1_1() {
    let head = relayed(
        "HTTP/1.0 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
        403,
        "no",
    )
    .await;
    assert!(head.start.starts_with("HTTP/1.1 "), "{}", head.start);
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_arrives() {
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        let answer = format!("{version} 403 Forbidden\r\n\r\nuntil the end");
        let upstream = RawUpstream::start(scripts::fixed(answer, Then::Close)).await;
        let proxied = Proxied::before(&upstream).await;
        let (mut client, head) = proxied.handshake("/ws/x", &[]).await;
        assert_eq!(head.status(), 403);
        assert_eq!(text(&mut client, &head).await, "until the end");
        expect_page(&mut client).await;
    }
}

#[tokio::test]
async fn an_upstream_that_says_close_does_not_close_the_client() {
    let head = relayed(
        "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
        403,
        "no",
    )
    .await;
    assert_eq!(head.get("connection"), None);
}

#[tokio::test]
async fn interim_answers_before_a_refusal_are_skipped_rfc9110_15_2() {
    relayed(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
         HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
        403,
        "no",
    )
    .await;
}

#[tokio::test]
async fn a_body_streams_while_the_upstream_still_writes_it() {
    for host in Host::ALL {
        let go_on = Arc::new(Notify::new());
        let resume = Arc::clone(&go_on);
        let upstream = RawUpstream::start(move |mut conn: RawConn| {
            let resume = Arc::clone(&resume);
            async move {
                conn.read_request_head().await;
                let head = b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n";
                conn.send(head).await;
                conn.send(b"5\r\nfirst\r\n").await;
                within("the client to have read", resume.notified()).await;
                conn.send(b"6\r\nsecond\r\n0\r\n\r\n").await;
                conn.expect_eof().await;
            }
        })
        .await;
        let proxied = Proxied::on(host, &upstream).await;
        let (mut client, head) = proxied.handshake("/ws/x", &[]).await;
        assert_eq!(head.status(), 403);
        assert_eq!(&client.read_exact(10).await[..], b"5\r\nfirst\r\n");
        go_on.notify_one();
        assert_eq!(
            &client.read_exact(16).await[..],
            b"6\r\nsecond\r\n0\r\n\r\n"
        );
        expect_page(&mut client).await;
        upstream.wait_for("its end", |log| log.ended == 1).await;
    }
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let body = "0123456789abcdef".repeat(64 * 1024);
    let answer = format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    relayed(&answer, 403, &body).await;
}

#[tokio::test]
async fn a_body_that_breaks_off_does_not_look_whole() {
    for answer in [
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let upstream = RawUpstream::start(scripts::fixed(answer, Then::Close)).await;
        let proxied = Proxied::before(&upstream).await;
        let mut client = proxied.connect().await;
        client.send(&handshake_request("/ws/x", &[])).await;
        let mut all = Vec::new();
        // The server decides how much of the body still arrives, and how the connection ends; but it
        // must end.
        while let Ok(bytes) = client.try_read_some().await {
            if bytes.is_empty() {
                break;
            }
            all.extend_from_slice(&bytes);
        }
        assert!(!all.ends_with(b"0\r\n\r\n"), "{all:?}");
        let body = all.windows(4).position(|four| four == b"\r\n\r\n");
        let len = body.map_or(0, |head| all.len() - head - 4);
        assert!(len < 10, "{all:?}");
        proxied.expect_idle().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_refusal_closes_the_upstream() {
    for host in Host::ALL {
        let upstream = RawUpstream::start(|mut conn: RawConn| async move {
            conn.read_request_head().await;
            conn.send(b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            // Without end, but for the client's.
            while conn.try_send(b"4\r\nmore\r\n").await.is_ok() {}
        })
        .await;
        let proxied = Proxied::on(host, &upstream).await;
        let (mut client, head) = proxied.handshake("/ws/x", &[]).await;
        assert_eq!(head.status(), 403);
        client.read_exact(9).await;
        client.reset();
        upstream.wait_for("its end", |log| log.ended == 1).await;
        proxied.expect_idle().await;
    }
}

/// An upstream that sends a refusal without end, as long as somebody takes it.
async fn endless() -> RawUpstream {
    RawUpstream::start(|mut conn: RawConn| async move {
        conn.read_request_head().await;
        conn.send(b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        while conn.try_send(chunk.as_bytes()).await.is_ok() {}
    })
    .await
}

#[tokio::test]
async fn forty_clients_that_do_not_read_a_refusal_do_not_hold_forty_connections() {
    let upstream = endless().await;
    let pool = pool([upstream.url()])
        .admission(Admission::new().max_tunnels(1))
        .build();
    let proxied = Proxied::start(Host::Axum, pool.clone(), |layer| layer).await;
    let mut clients = Vec::new();
    for number in 0..40 {
        let (client, head) = proxied.handshake("/ws/x", &[]).await;
        assert_eq!(head.status(), if number == 0 { 403 } else { 503 });
        clients.push(client);
    }
    assert_eq!(
        (upstream.log().accepted, pool.snapshot()[0].tunnels),
        (1, 1)
    );
    drop(clients);
    upstream.wait_for("its end", |log| log.ended == 1).await;
    proxied.expect_idle().await;
}

#[tokio::test]
async fn a_refusal_that_nobody_reads_gives_its_place_back_after_the_write_timeout() {
    let upstream = endless().await;
    let pool = pool([upstream.url()])
        .admission(Admission::new().max_tunnels(1))
        .build();
    let short = std::time::Duration::from_millis(50);
    let proxied = Proxied::start(Host::Axum, pool.clone(), |layer| {
        layer.response_write_timeout(short)
    })
    .await;
    for count in 1..=3 {
        let (client, head) = proxied.handshake("/ws/x", &[]).await;
        assert_eq!(head.status(), 403);
        upstream
            .wait_for("the end of its connection", |log| log.ended == count)
            .await;
        within("the end of its lease", async {
            while pool.snapshot()[0].tunnels > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        drop(client);
    }
}

/// The status allows a retry, but no upstream is left: the refusal is relayed, and is the upstream's
/// work until its end.
#[tokio::test]
async fn the_last_refusal_holds_its_lease_while_it_is_relayed_although_it_could_be_retried() {
    for others in 0..2 {
        let upstreams = [endless().await, endless().await];
        let urls = upstreams.iter().take(1 + others).map(RawUpstream::url);
        let pool = Pool::new(urls).expect("addresses").build();
        let proxied = Proxied::start(Host::Axum, pool.clone(), |layer| {
            layer.retry(Retry::new().on([RetryOn::Status(403)]))
        })
        .await;
        let tunnels = || pool.snapshot().iter().map(|it| it.tunnels).sum::<usize>();
        let (client, head) = proxied.handshake("/ws/x", &[]).await;
        assert_eq!(head.status(), 403);
        within("the end of the leases of refusals before the last", async {
            while tunnels() > 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // The client has not read it yet, nor left.
        let accepted: usize = upstreams.iter().map(|it| it.log().accepted).sum();
        assert_eq!((accepted, tunnels()), (1 + others, 1));
        assert!(pool.snapshot().iter().all(|it| it.handshakes == 0));
        drop(client);
        within("the end of the last lease", async {
            while tunnels() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_refusal_is_no_handshake_in_progress_any_more() {
    let upstream = endless().await;
    let pool = pool([upstream.url()])
        .admission(Admission::new().max_handshakes(1))
        .build();
    let proxied = Proxied::start(Host::Axum, pool.clone(), |layer| layer).await;
    let (_first, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 403);
    let (_second, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 403);
    assert_eq!(pool.snapshot()[0].handshakes, 0);
}

#[tokio::test]
async fn a_refusal_keeps_what_follows_on_other_connections_apart() {
    let upstream = RawUpstream::start(scripts::fixed(
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
        Then::Hold,
    ))
    .await;
    let proxied = Proxied::before(&upstream).await;
    let mut client = proxied.connect().await;
    for count in 1..=3 {
        let head = client.handshake("/ws/x", &[]).await;
        assert_eq!(head.status(), 403);
        client.read_body(&head).await;
        // Each handshake has a connection of its own, which ends with it.
        upstream
            .wait_for("one more connection's end", |log| log.ended == count)
            .await;
    }
    assert_eq!(upstream.log().accepted, 3);
}

/// RFC 9112 §6.3, item 3: the length that goes with a transfer coding is not passed on.
#[tokio::test]
async fn a_length_beside_chunks_counts_for_nothing_rfc9112_6_3() {
    let head = relayed(
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n",
        403,
        "hello",
    )
    .await;
    // The proxy has read the whole refusal, and knows its length.
    assert_eq!(head.get("content-length"), Some("5"));
}

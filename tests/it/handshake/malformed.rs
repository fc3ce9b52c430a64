//! Handshakes that break RFC 6455 §4.2.1: each is rejected, and never reaches an upstream.

use super::kit::{Host, Proxied, expect_page, expect_untouched, text, values};
use crate::support::head::Head;
use crate::support::raw::{HOST, KEY, handshake_request, request};
use crate::support::scripts;
use crate::support::upstream::RawUpstream;

/// The headers of a right handshake.
const RIGHT: [(&str, &str); 5] = [
    ("Host", HOST),
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
];

/// A right handshake without the headers of this name.
fn without(name: &str) -> Vec<u8> {
    let mut text = "GET /ws/x HTTP/1.1\r\n".to_owned();
    for (candidate, value) in RIGHT {
        if candidate != name {
            text += &format!("{candidate}: {value}\r\n");
        }
    }
    (text + "\r\n").into_bytes()
}

/// A right handshake and one more line.
fn doubled(name: &'static str, value: &'static str) -> Vec<u8> {
    request("/ws/x", &[&RIGHT[..], &[(name, value)]].concat())
}

fn with(name: &str, value: &str) -> Vec<u8> {
    handshake_request("/ws/x", &[(name, value)])
}

fn with_start(start: &str) -> Vec<u8> {
    let right = String::from_utf8(request("/ws/x", &RIGHT)).unwrap();
    right.replace("GET /ws/x HTTP/1.1", start).into_bytes()
}

/// Sends the request and returns the head of the response, whose body must be one line that
/// contains `reason`. Nothing may reach the upstream.
async fn rejected(bytes: Vec<u8>, status: u16, reason: &str) -> Head {
    let what = String::from_utf8_lossy(&bytes).into_owned();
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = Proxied::before(&upstream).await;
    let (mut client, head) = proxied.send(&bytes).await;
    assert_eq!(head.status(), status, "{what}");
    let content_type = head.get("content-type");
    assert_eq!(content_type, Some("text/plain; charset=utf-8"), "{what}");
    let body = text(&mut client, &head).await;
    let line = body.strip_suffix('\n').expect("a line");
    assert!(!line.contains('\n') && line.contains(reason), "{body:?}");
    proxied
        .expect_events(&["rejected /ws/x MalformedHandshake"])
        .await;
    proxied.expect_idle().await;
    expect_untouched(&upstream).await;
    head
}

#[tokio::test]
async fn other_methods_get_405_and_allow_rfc6455_4_2_1() {
    for method in ["POST", "PUT", "HEAD", "OPTIONS", "DELETE", "get"] {
        let request = with_start(&format!("{method} /ws/x HTTP/1.1"));
        if method == "HEAD" {
            let upstream = RawUpstream::start(scripts::echo()).await;
            let proxied = Proxied::before(&upstream).await;
            let (mut client, head) = proxied.send(&request).await;
            assert_eq!((head.status(), head.get("allow")), (405, Some("GET")));
            expect_page(&mut client).await;
            expect_untouched(&upstream).await;
            continue;
        }
        let head = rejected(request, 405, "GET").await;
        assert_eq!(values(&head, "allow"), ["GET"], "{method}");
    }
}

#[tokio::test]
async fn other_versions_get_426_and_the_right_one_rfc6455_4_4() {
    for bytes in [
        without("Sec-WebSocket-Version"),
        with("Sec-WebSocket-Version", "8"),
        with("Sec-WebSocket-Version", "12"),
        with("Sec-WebSocket-Version", "777"),
        with("Sec-WebSocket-Version", "013"),
        with("Sec-WebSocket-Version", "13, 8"),
        with("Sec-WebSocket-Version", ""),
        doubled("Sec-WebSocket-Version", "8"),
        doubled("Sec-WebSocket-Version", "13"),
    ] {
        let head = rejected(bytes, 426, "13").await;
        assert_eq!(values(&head, "sec-websocket-version"), ["13"]);
        assert_eq!(values(&head, "upgrade"), ["websocket"]);
        assert_eq!(values(&head, "connection"), ["Upgrade"]);
    }
}

#[tokio::test]
async fn http_1_0_gets_400_rfc6455_4_2_1() {
    let head = rejected(with_start("GET /ws/x HTTP/1.0"), 400, "HTTP/1.1").await;
    assert_eq!(head.get("upgrade"), None);
}

#[tokio::test]
async fn a_connection_header_that_does_not_name_upgrade_gets_400_rfc6455_4_2_1() {
    for bytes in [
        without("Connection"),
        with("Connection", "keep-alive"),
        with("Connection", "close"),
        with("Connection", "not-upgrade"),
        with("Connection", "upgrade-insecure, xupgrade"),
        with("Connection", "\"upgrade\""),
        with("Connection", "keep-alive upgrade"),
    ] {
        rejected(bytes, 400, "Connection").await;
    }
}

#[tokio::test]
async fn a_host_that_is_missing_or_doubled_gets_400_rfc9112_3_2() {
    rejected(without("Host"), 400, "Host").await;
    rejected(doubled("Host", HOST), 400, "Host").await;
    rejected(doubled("Host", "private.test"), 400, "Host").await;
}

/// Hosts that no parser agrees on (RFC 3986 §3.2.2).
const INVALID_HOSTS: [&str; 12] = [
    "",
    "a b, c",
    "a/../b?x",
    "good@evil",
    "admin.internal:99999",
    "b\u{fc}cher.test",
    "::1:8080",
    "[::1",
    "[v1.x]",
    "a%2eb",
    "a:80:80",
    "a#b",
];

#[tokio::test]
async fn an_invalid_host_gets_400_and_is_never_forwarded_rfc9112_3_2() {
    for host in INVALID_HOSTS {
        rejected(with("Host", host), 400, "Host").await;
    }
}

#[tokio::test]
async fn an_invalid_host_bypasses_no_condition_on_the_host() {
    use wsplice::matcher::{Matcher, host, not, path};

    let upstream = RawUpstream::start(scripts::echo()).await;
    let public = || path("/ws/*").and(not(host("admin.internal")));
    let proxied = Proxied::with(&upstream, |layer| layer.matching(public())).await;
    for host in INVALID_HOSTS {
        let (_client, head) = proxied.send(&with("Host", host)).await;
        assert_eq!(head.status(), 400, "{host}");
    }
    let proxied = Proxied::with(&upstream, |layer| {
        layer.matching(path("/ws/*").and(host("chat.test")))
    })
    .await;
    for host in INVALID_HOSTS {
        let (_client, head) = proxied.send(&with("Host", host)).await;
        assert_eq!(head.status(), 400, "{host}");
    }
    expect_untouched(&upstream).await;
}

#[tokio::test]
async fn a_request_with_an_invalid_host_that_is_not_owned_reaches_the_inner_service() {
    use super::kit::expect_inner;
    use wsplice::matcher::{Matcher, host, path};

    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = Proxied::with(&upstream, |layer| {
        layer.matching(path("/chat/*").and(host("chat.test")))
    })
    .await;
    for host in INVALID_HOSTS {
        let (mut client, head) = proxied.send(&with("Host", host)).await;
        expect_inner(&mut client, &head, "/ws/x").await;
    }
    expect_untouched(&upstream).await;
}

#[tokio::test]
async fn a_key_that_is_not_16_bytes_gets_400_rfc6455_4_2_1() {
    for bytes in [
        without("Sec-WebSocket-Key"),
        doubled("Sec-WebSocket-Key", KEY),
        with("Sec-WebSocket-Key", ""),
        with("Sec-WebSocket-Key", "c2hvcnQ="),
        with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ"),
        with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZVE="),
        with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQAA=="),
        with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j!Q=="),
        with(
            "Sec-WebSocket-Key",
            "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        ),
    ] {
        rejected(bytes, 400, "Sec-WebSocket-Key").await;
    }
}

#[tokio::test]
async fn a_body_gets_400_rfc6455_4_1() {
    let hello = [with("Content-Length", "5"), b"hello".to_vec()].concat();
    rejected(hello, 400, "body").await;
    let chunked = b"5\r\nhello\r\n0\r\n\r\n".to_vec();
    let hello = [with("Transfer-Encoding", "chunked"), chunked].concat();
    rejected(hello, 400, "body").await;
    // The body is announced and never sent; the rejection does not wait for it.
    rejected(with("Content-Length", "5"), 400, "body").await;
}

#[tokio::test]
async fn a_target_without_a_path_gets_400() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let everything =
        |layer: wsplice::ProxyLayer| layer.matching(|_: &wsplice::head::RequestHead<'_>| true);
    let proxied = Proxied::with(&upstream, everything).await;
    let (mut client, head) = proxied.send(&with_start("GET * HTTP/1.1")).await;
    assert_eq!(head.status(), 400);
    assert!(text(&mut client, &head).await.contains("path"));
    expect_untouched(&upstream).await;
}

#[tokio::test]
async fn a_head_of_too_many_lines_or_bytes_gets_431() {
    let lines = vec![("X-Line", "x"); 200];
    let long = "x".repeat(1024 * 1024);
    for host in Host::ALL {
        for extra in [&lines[..], &[("X-Long", &long)]] {
            let upstream = RawUpstream::start(scripts::echo()).await;
            let proxied = Proxied::on(host, &upstream).await;
            let mut client = proxied.connect().await;
            // The server need not take all of it.
            let _ = client.try_send(&handshake_request("/ws/x", extra)).await;
            if let Ok(Some(head)) = client.try_read_head().await {
                assert_eq!(head.status(), 431, "{host:?}");
            }
            expect_untouched(&upstream).await;
        }
    }
}

#[tokio::test]
async fn the_connection_goes_on_as_http_after_each() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = Proxied::before(&upstream).await;
    let mut client = proxied.connect().await;
    for (bytes, status) in [
        (with_start("POST /ws/x HTTP/1.1"), 405),
        (with("Sec-WebSocket-Version", "8"), 426),
        (without("Connection"), 400),
        (without("Host"), 400),
        (without("Sec-WebSocket-Key"), 400),
        (
            [with("Content-Length", "5"), b"hello".to_vec()].concat(),
            400,
        ),
    ] {
        client.send(&bytes).await;
        let head = client.read_head().await;
        assert_eq!(head.status(), status);
        client.read_body(&head).await;
        expect_page(&mut client).await;
    }
    expect_untouched(&upstream).await;

    // And a right handshake on the same connection is still a handshake.
    let head = client.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 101);
    client.send(b"bytes").await;
    assert_eq!(&client.read_exact(5).await[..], b"bytes");
}

//! Requests that hide behind an upgrade.

use super::kit::{Arena, request};
use crate::{
    alone,
    support::raw::{RawClient, handshake_request},
};

const HIDDEN: &str = "GET /private HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// Sends a handshake with a request right behind it, and expects that the proxy reads the second as
/// a request of its own: for the inner service.
async fn expect_two_requests(arena: &Arena, handshake: Vec<u8>, status: u16) {
    let bytes = [handshake, HIDDEN.as_bytes().to_vec()].concat();
    let (mut client, head) = arena.attack(bytes).await;
    let head = head.expect("a response");
    assert_eq!(head.status(), status);
    client.read_body(&head).await;
    let head = client.read_head().await;
    assert_eq!(client.read_body(&head).await, "inner GET /private");
    assert!(!arena.reached().contains(&"/private".to_owned()));
}

#[test]
fn a_refused_upgrade_tunnels_nothing() {
    alone(async {
        let arena = Arena::with_evil("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
        expect_two_requests(&arena, handshake_request("/ws/evil", &[]), 403).await;
        arena.survived().await;
    });
}

/// The version trick: the proxy takes a handshake for good that the upstream refuses (Mikhail
/// Egorov, "WebSocket request smuggling", 2019).
#[test]
fn a_malformed_upgrade_tunnels_nothing() {
    alone(async {
        let arena = Arena::start().await;
        for (name, value, status) in [
            ("Sec-WebSocket-Version", "777", 426),
            ("Sec-WebSocket-Key", "x", 400),
            ("Connection", "keep-alive", 400),
        ] {
            let handshake = handshake_request("/ws/x", &[(name, value)]);
            expect_two_requests(&arena, handshake, status).await;
        }
        assert!(arena.reached().is_empty());
        arena.survived().await;
    });
}

#[test]
fn bytes_behind_an_accepted_upgrade_are_the_tunnels_and_no_request() {
    alone(async {
        let arena = Arena::start().await;
        let bytes = [handshake_request("/ws/x", &[]), HIDDEN.into()].concat();
        let (mut client, head) = arena.attack(bytes).await;
        assert_eq!(head.expect("a response").status(), 101);
        assert_eq!(client.read_exact(HIDDEN.len()).await, HIDDEN);
        assert_eq!(arena.reached(), ["/ws/x"]);
        drop(client);
        arena.survived().await;
    });
}

/// CVE-2024-23326: a 200 with the headers of an upgrade was taken for one.
#[test]
fn no_other_status_than_101_is_an_upgrade() {
    alone(async {
        for status in [
            "200 OK",
            "201 Created",
            "202 Accepted",
            "426 Upgrade Required",
        ] {
            let arena = Arena::with_evil(format!(
                "HTTP/1.1 {status}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nContent-Length: 2\r\n\r\nno"
            ))
            .await;
            let expected = status[..3].parse().expect("a status");
            expect_two_requests(&arena, handshake_request("/ws/evil", &[]), expected).await;
            arena.survived().await;
        }
    });
}

/// An upstream that reflects parts of a request can be made to send the bytes of a 101.
#[test]
fn a_reflected_101_opens_no_tunnel() {
    alone(async {
        for (response, status) in [
            // A 101 to a request that asked for none (RFC 9110 §15.2.2).
            (
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
                502,
            ),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", 502),
            // A 101 in the body.
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 36\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n",
                200,
            ),
        ] {
            let arena = Arena::with_evil(response).await;
            let (mut client, head) = arena.attack(request("GET", "/ws/evil", &[])).await;
            let head = head.expect("a response");
            assert_eq!(head.status(), status, "{response}");
            client.read_body(&head).await;
            client.send(HIDDEN.as_bytes()).await;
            let head = client.read_head().await;
            assert_eq!(client.read_body(&head).await, "inner GET /private");
            assert_eq!(arena.reached(), ["/ws/evil"]);
            drop(client);
            arena.survived().await;
        }
    });
}

/// A 101 that proves nothing: no key, another client's key, another protocol.
#[test]
fn a_101_without_proof_opens_no_tunnel() {
    alone(async {
        for lines in [
            "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n",
            "Connection: Upgrade\r\nUpgrade: h2c\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
            "Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        ] {
            let arena = Arena::with_evil(format!("HTTP/1.1 101 x\r\n{lines}\r\n")).await;
            expect_two_requests(&arena, handshake_request("/ws/evil", &[]), 502).await;
            arena.survived().await;
        }
    });
}

/// h2c smuggling (Jake Miller, Bishop Fox, 2020): a proxy that relays the upgrade opens a tunnel of
/// HTTP/2 requests past its rules.
#[test]
fn an_upgrade_to_h2c_is_never_relayed() {
    alone(async {
        let arena = Arena::start().await;
        for lines in [
            [
                "Connection: Upgrade, HTTP2-Settings",
                "Upgrade: h2c",
                "HTTP2-Settings: AAMAAABk",
            ],
            ["Connection: Upgrade", "Upgrade: h2c", "X: x"],
            [
                "Connection: HTTP2-Settings",
                "Upgrade: h2c",
                "HTTP2-Settings: AAMAAABk",
            ],
            [
                "Connection: Upgrade",
                "Upgrade: h2c, x",
                "HTTP2-Settings: AAMAAABk",
            ],
        ] {
            let (mut client, head) = arena.attack(request("GET", "/ws/x", &lines)).await;
            let head = head.expect("a response");
            assert_eq!(head.status(), 200);
            assert_eq!(client.read_body(&head).await, "upstream");
            let up = arena.last_head();
            for name in ["upgrade", "http2-settings", "connection"] {
                assert_eq!(up.get(name), None, "{lines:?}");
            }
        }
        // Beside a WebSocket, the other protocol is dropped.
        let both = handshake_request("/ws/x", &[("Upgrade", "h2c, websocket")]);
        assert_eq!(arena.status(both).await, 101);
        assert_eq!(arena.last_head().get("upgrade"), Some("websocket"));
        // Prior knowledge on a connection that was HTTP/1.1.
        let mut client = RawClient::connect(arena.addr()).await;
        client.send(&request("GET", "/ws/x", &[])).await;
        let head = client.read_head().await;
        client.read_body(&head).await;
        let _ = client.try_send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        if let Ok(Some(head)) = client.try_read_head().await {
            assert!(head.status() >= 400);
        }
        drop(client);
        arena.survived().await;
    });
}

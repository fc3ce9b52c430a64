//! A refused upgrade leaves no way to the upstream: bytes after it are HTTP, and read by the
//! proxy's own server.

use super::kit::{Host, Proxied, expect_inner, expect_untouched, text};
use crate::support::raw::{handshake_request, request};
use crate::support::scripts::{self, Then};
use crate::support::upstream::RawUpstream;

const REFUSAL: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";

/// A handshake with a request for `/private` right behind it.
fn pipelined(handshake: Vec<u8>) -> Vec<u8> {
    [handshake, request("/private", &[])].concat()
}

#[tokio::test]
async fn a_request_behind_a_refused_upgrade_is_served_by_the_inner_service() {
    for host in Host::ALL {
        let upstream = RawUpstream::start(scripts::fixed(REFUSAL, Then::Hold)).await;
        let proxied = Proxied::on(host, &upstream).await;
        let bytes = pipelined(handshake_request("/ws/x", &[]));
        let (mut client, head) = proxied.send(&bytes).await;
        assert_eq!(head.status(), 403);
        assert_eq!(text(&mut client, &head).await, "no");
        let head = client.read_head().await;
        expect_inner(&mut client, &head, "/private").await;

        let log = upstream.wait_for("its end", |log| log.ended == 1).await;
        assert_eq!((log.accepted, log.after_head), (1, 0), "{host:?}");
    }
}

#[tokio::test]
async fn a_request_sent_once_the_upstream_has_refused_is_served_by_the_inner_service() {
    for answer in [
        REFUSAL,
        "HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
    ] {
        let upstream = RawUpstream::start(scripts::fixed(answer, Then::Hold)).await;
        let proxied = Proxied::before(&upstream).await;
        let (mut client, head) = proxied.handshake("/ws/x", &[]).await;
        client.read_body(&head).await;
        client.send_request("/private", &[]).await;
        let head = client.read_head().await;
        expect_inner(&mut client, &head, "/private").await;
        let log = upstream.wait_for("its end", |log| log.ended == 1).await;
        assert_eq!((log.heads.len(), log.after_head), (1, 0), "{answer}");
    }
}

#[tokio::test]
async fn a_request_behind_a_rejected_upgrade_is_served_by_the_inner_service() {
    for host in Host::ALL {
        let upstream = RawUpstream::start(scripts::echo()).await;
        let proxied = Proxied::on(host, &upstream).await;
        // CVE-2024-23326 and its kin begin with a version that is known to be refused.
        let version = &[("Sec-WebSocket-Version", "777")];
        let bytes = pipelined(handshake_request("/ws/x", version));
        let (mut client, head) = proxied.send(&bytes).await;
        assert_eq!(head.status(), 426);
        client.read_body(&head).await;
        let head = client.read_head().await;
        expect_inner(&mut client, &head, "/private").await;
        expect_untouched(&upstream).await;
    }
}

#[tokio::test]
async fn a_body_cannot_hide_a_request() {
    for host in Host::ALL {
        let upstream = RawUpstream::start(scripts::echo()).await;
        let proxied = Proxied::on(host, &upstream).await;
        let hidden = request("/ws/hidden", &[]);
        let length = hidden.len().to_string();
        let handshake = handshake_request("/ws/x", &[("Content-Length", &length)]);
        let bytes = pipelined([handshake, hidden].concat());
        let (mut client, head) = proxied.send(&bytes).await;
        assert_eq!(head.status(), 400);
        client.read_body(&head).await;
        // The body was a body: the next request is the one behind it.
        let head = client.read_head().await;
        expect_inner(&mut client, &head, "/private").await;
        expect_untouched(&upstream).await;
    }
}

#[tokio::test]
async fn two_framings_of_one_body_open_no_tunnel_rfc9112_6_1() {
    for host in Host::ALL {
        let upstream = RawUpstream::start(scripts::echo()).await;
        let proxied = Proxied::on(host, &upstream).await;
        let framings = &[("Content-Length", "0"), ("Transfer-Encoding", "chunked")];
        let bytes =
            pipelined([handshake_request("/ws/x", framings), b"0\r\n\r\n".to_vec()].concat());
        let (_client, head) = proxied.send(&bytes).await;
        assert_eq!(head.status(), 400);
        expect_untouched(&upstream).await;
    }
}

#[tokio::test]
async fn another_protocol_opens_no_tunnel() {
    for host in Host::ALL {
        let upstream = RawUpstream::start(scripts::echo()).await;
        let proxied = Proxied::on(host, &upstream).await;
        let h2c = request(
            "/ws/x",
            &[
                ("Connection", "Upgrade, HTTP2-Settings"),
                ("Upgrade", "h2c"),
                ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
            ],
        );
        let (mut client, head) = proxied.send(&pipelined(h2c)).await;
        expect_inner(&mut client, &head, "/ws/x").await;
        let head = client.read_head().await;
        expect_inner(&mut client, &head, "/private").await;
        expect_untouched(&upstream).await;
    }
}

//! Bytes that arrive before the other leg is ready are not lost.

use super::kit::{Host, Proxied};
use crate::support::clients::{Client, Fast, Message, Tungstenite};
use crate::support::frames::{self, masked, read_frame, unmasked};
use crate::support::raw::handshake_request;
use crate::support::rng::payload;
use crate::support::scripts;
use crate::support::upstream::{RawConn, RawUpstream, switching_protocols};

#[tokio::test]
async fn frames_right_behind_the_handshake_reach_the_upstream() {
    for host in Host::ALL {
        for size in [0, 1, 5, 125, 126, 4_000, 70_000] {
            let upstream = RawUpstream::start(scripts::echo()).await;
            let proxied = Proxied::on(host, &upstream).await;
            let frame = masked(frames::binary(&payload(1, size)));
            let bytes = [handshake_request("/ws/x", &[]), frame.clone()].concat();
            let (mut client, head) = proxied.send(&bytes).await;
            assert_eq!(head.status(), 101);
            let back = client.read_exact(frame.len()).await;
            assert!(back[..] == frame[..], "{host:?} {size}");
        }
    }
}

#[tokio::test]
async fn a_close_right_behind_the_handshake_reaches_the_upstream() {
    for host in Host::ALL {
        let upstream = RawUpstream::start(|mut conn: RawConn| async move {
            let head = conn.read_request_head().await;
            conn.accept_101(&head, &[]).await;
            let close = read_frame(&mut conn).await.close();
            assert_eq!(close, Some((1001, "changed my mind".to_owned())));
            conn.send(&unmasked(frames::close(1001, "changed my mind")))
                .await;
            conn.fin().await;
        })
        .await;
        let proxied = Proxied::on(host, &upstream).await;
        let close = masked(frames::close(1001, "changed my mind"));
        let bytes = [handshake_request("/ws/x", &[]), close].concat();
        let (mut client, head) = proxied.send(&bytes).await;
        assert_eq!(head.status(), 101);
        let close = read_frame(&mut client).await.close();
        assert_eq!(close, Some((1001, "changed my mind".to_owned())));
        client.expect_eof().await;
    }
}

#[tokio::test]
async fn frames_in_the_segment_of_the_101_reach_the_client() {
    for host in Host::ALL {
        for size in [0, 5, 125, 126, 4_000, 70_000] {
            let frame = unmasked(frames::binary(&payload(2, size)));
            let upstream = RawUpstream::start(scripts::accept_and(frame.clone())).await;
            let proxied = Proxied::on(host, &upstream).await;
            let mut client = proxied.open("/ws/x").await;
            let first = client.read_exact(frame.len()).await;
            assert!(first[..] == frame[..], "{host:?} {size}");
            client.send(b"later").await;
            assert_eq!(&client.read_exact(5).await[..], b"later");
        }
    }
}

#[tokio::test]
async fn a_close_in_the_segment_of_the_101_reaches_the_client() {
    for host in Host::ALL {
        let upstream = RawUpstream::start(|mut conn: RawConn| async move {
            let head = conn.read_request_head().await;
            let close = unmasked(frames::close(1013, "come later"));
            conn.send(&[switching_protocols(&head, &[]), close].concat())
                .await;
            conn.fin().await;
            let _ = conn.try_read_some().await;
        })
        .await;
        let proxied = Proxied::on(host, &upstream).await;
        let mut client = proxied.open("/ws/x").await;
        let close = read_frame(&mut client).await.close();
        assert_eq!(close, Some((1013, "come later".to_owned())));
    }
}

#[tokio::test]
async fn an_upstream_that_speaks_first_is_heard_by_real_clients() {
    async fn heard<C: Client>(host: Host) {
        let hello = unmasked(frames::text("hello"));
        let upstream = RawUpstream::start(scripts::accept_and(hello)).await;
        let proxied = Proxied::on(host, &upstream).await;
        let mut client = C::connect(proxied.server().addr(), "/ws/x").await;
        assert_eq!(client.next().await, Message::Text("hello".to_owned()));
    }
    for host in Host::ALL {
        heard::<Tungstenite>(host).await;
        heard::<Fast>(host).await;
    }
}

#[tokio::test]
async fn an_upstream_that_speaks_after_the_101_and_before_the_client_is_heard() {
    let upstream = RawUpstream::start(|mut conn: RawConn| async move {
        let head = conn.read_request_head().await;
        conn.accept_101(&head, &[]).await;
        for count in 0..10 {
            conn.send(&unmasked(frames::text(&format!("{count}"))))
                .await;
            tokio::task::yield_now().await;
        }
        conn.expect_eof().await;
    })
    .await;
    let proxied = Proxied::before(&upstream).await;
    let mut client = proxied.open("/ws/x").await;
    for count in 0..10 {
        let frame = read_frame(&mut client).await;
        assert_eq!(frame.payload, format!("{count}").as_bytes());
    }
}

#[tokio::test]
async fn a_handshake_that_comes_byte_by_byte_is_a_handshake() {
    for host in Host::ALL {
        let upstream = RawUpstream::start(scripts::echo()).await;
        let proxied = Proxied::on(host, &upstream).await;
        let mut client = proxied.connect().await;
        for byte in handshake_request("/ws/x", &[]) {
            client.send(&[byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.read_head().await.status(), 101);
        client.send(b"bytes").await;
        assert_eq!(&client.read_exact(5).await[..], b"bytes");
    }
}

#[tokio::test]
async fn both_sides_speak_before_either_listens() {
    for host in Host::ALL {
        let up = masked(frames::binary(&payload(3, 30_000)));
        let down = unmasked(frames::binary(&payload(4, 30_000)));
        let upstream = RawUpstream::start(scripts::accept_and(down.clone())).await;
        let proxied = Proxied::on(host, &upstream).await;
        let bytes = [handshake_request("/ws/x", &[]), up.clone()].concat();
        let (mut client, head) = proxied.send(&bytes).await;
        assert_eq!(head.status(), 101);
        let both = client.read_exact(down.len() + up.len()).await;
        assert!(both[..] == [down, up].concat()[..], "{host:?}");
    }
}

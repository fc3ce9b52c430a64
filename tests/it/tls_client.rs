//! Clients inside TLS: the bytes that pass, and each side's view of the other's end.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use axum::Router;
use futures_util::{SinkExt, StreamExt};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
use tokio_tungstenite::client_async;
use tungstenite::{Message, protocol::CloseFrame};
use wsplice::{
    ProxyLayer,
    connect::Transport,
    frame::CloseCode,
    tunnel::{Side, Tunnel, TunnelEnd},
};

use crate::support::{
    axum_upstream,
    deadline::within,
    frames::{self, masked, unmasked},
    raw::handshake_request,
    rng::{Checksum, Xorshift, payload},
    tls::{self, TlsClient, serve_tls},
    tunnels::{AcceptingUpstream, ProxyServer},
    upstream::RawConn,
};

/// A proxy whose clients come inside TLS.
async fn proxy_to(url: String) -> ProxyServer {
    gate_with(url, |layer| layer).await
}

async fn gate_with(url: String, settings: impl FnOnce(ProxyLayer) -> ProxyLayer) -> ProxyServer {
    ProxyServer::served([url], settings, |app: Router| serve_tls(app)).await
}

/// A proxy, and both ends of a tunnel through it.
async fn one_tunnel() -> (ProxyServer, TlsClient, RawConn) {
    let mut accepting = AcceptingUpstream::start().await;
    let proxy = proxy_to(accepting.url()).await;
    let client = TlsClient::open(proxy.addr(), "/ws/room").await;
    let upstream = accepting.next().await;
    (proxy, client, upstream)
}

#[tokio::test]
async fn a_mebibyte_passes_both_ways_at_once() {
    let (_gate, client, mut upstream) = one_tunnel().await;
    let up = masked(frames::binary(&payload(1, 1 << 20)));
    let down = unmasked(frames::binary(&payload(2, 1 << 20)));
    let (up_sum, down_sum) = (Checksum::of(&up), Checksum::of(&down));
    let up_len = up.len();
    let mut got = vec![0; down.len()];
    let (mut reader, mut writer) = split(client);
    let (_, _, arrived) = tokio::join!(
        async {
            within("the client's bytes to be taken", async {
                writer.write_all(&up).await.unwrap();
                writer.flush().await.unwrap();
            })
            .await;
        },
        async {
            within("bytes for the client", reader.read_exact(&mut got))
                .await
                .unwrap()
        },
        upstream.exchange(&down, up_len),
    );
    assert_eq!(Checksum::of(&arrived), up_sum);
    assert_eq!(Checksum::of(&got), down_sum);
}

/// Each piece is a record of its own on the client's side.
#[tokio::test]
async fn frames_in_small_pieces_pass_unchanged() {
    let (_gate, mut client, mut upstream) = one_tunnel().await;
    let up = masked(frames::binary(&payload(3, 600)));
    let down = unmasked(frames::binary(&payload(4, 600)));
    let mut rng = Xorshift::new(5);
    let (mut sent_up, mut sent_down) = (0, 0);
    while sent_up < up.len() || sent_down < down.len() {
        let piece = &up[sent_up..up.len().min(sent_up + 1 + rng.below(3))];
        client.send(piece).await;
        assert_eq!(&upstream.read_exact(piece.len()).await[..], piece);
        sent_up += piece.len();
        let piece = &down[sent_down..down.len().min(sent_down + 1 + rng.below(3))];
        upstream.send(piece).await;
        assert_eq!(client.read(piece.len()).await, piece);
        sent_down += piece.len();
    }
}

/// rustls takes up to 64 KiB that it cannot send yet, and sends them only when it is polled.
#[tokio::test]
async fn what_rustls_holds_for_a_slow_client_is_sent_though_nothing_follows() {
    let (near_client, far_client) = duplex(4096);
    let (near_upstream, mut upstream) = duplex(4096);
    let (near_client, mut client) = tls::pair(near_client, far_client).await;
    let tunnel = Tunnel::new(Transport::new(near_client), Transport::new(near_upstream));
    let down = unmasked(frames::binary(&payload(9, 40_000)));
    let said_and_heard = async {
        // When the last byte is in this pipe, the tunnel has taken those that do not fit in.
        within("rustls to take it all", upstream.write_all(&down))
            .await
            .unwrap();
        let mut heard = vec![0; down.len()];
        within("all of it", client.read_exact(&mut heard))
            .await
            .unwrap();
        heard
    };
    tokio::select! {
        heard = said_and_heard => assert!(heard == down),
        report = tunnel => panic!("the tunnel ended: {report:?}"),
    }
}

/// The data are far more than sockets and rustls take.
#[tokio::test]
async fn a_client_that_stops_reading_holds_the_upstream_up_and_gets_all_of_it_later() {
    let (_gate, mut client, mut upstream) = one_tunnel().await;
    let down = unmasked(frames::binary(&payload(10, 16 << 20)));
    let expected = Checksum::of(&down);
    let sending = upstream.send(&down);
    tokio::pin!(sending);
    // The kernel moves bytes by itself, so only many attempts show that it has come to a stop.
    for _ in 0..1000 {
        let turn = async {
            tokio::task::yield_now().await;
        };
        tokio::select! {
            biased;
            () = &mut sending => panic!("nothing held the upstream up"),
            () = turn => {}
        }
    }
    let reading = async {
        let mut sum = Checksum::new();
        let mut left = down.len();
        while left > 0 {
            let piece = client.read(left.min(64 << 10)).await;
            sum.update(&piece);
            left -= piece.len();
        }
        sum
    };
    let ((), sum) = tokio::join!(sending, reading);
    assert_eq!(sum, expected);
}

#[tokio::test]
async fn what_follows_the_handshake_in_its_record_is_not_lost() {
    let mut accepting = AcceptingUpstream::start().await;
    let proxy = proxy_to(accepting.url()).await;
    let mut client = TlsClient::connect(proxy.addr()).await;
    let first = masked(frames::text("early"));
    let mut bytes = handshake_request("/ws/room", &[]);
    bytes.extend_from_slice(&first);
    client.send(&bytes).await;
    assert_eq!(client.read_head().await.status(), 101);
    let mut upstream = accepting.next().await;
    assert_eq!(&upstream.read_exact(first.len()).await[..], first);
}

/// RFC 8446 §6.1: `close_notify` ends one direction; the other goes on.
#[tokio::test]
async fn a_client_that_has_finished_still_hears_the_upstream() {
    let (proxy, mut client, mut upstream) = one_tunnel().await;
    client.send(&masked(frames::close(1000, "bye"))).await;
    client.finish().await;
    upstream
        .read_exact(masked(frames::close(1000, "bye")).len())
        .await;
    upstream.expect_eof().await;
    let answer = unmasked(frames::close(1000, ""));
    let last = [unmasked(frames::binary(&payload(6, 100_000))), answer].concat();
    upstream.send(&last).await;
    upstream.fin().await;
    let (heard, end) = client.read_to_end().await;
    assert!(heard == last);
    end.unwrap();
    let report = proxy.report().await;
    assert_eq!(
        (report.end, report.initiator),
        (TunnelEnd::Closed, Side::Client)
    );
}

#[tokio::test]
async fn an_upstream_that_has_finished_still_hears_the_client() {
    let (proxy, mut client, mut upstream) = one_tunnel().await;
    let close = unmasked(frames::close(1001, "off"));
    upstream.send(&close).await;
    upstream.fin().await;
    let (heard, end) = client.read_to_end().await;
    assert_eq!(heard, close);
    end.unwrap();
    let last = [
        masked(frames::binary(&payload(7, 100_000))),
        masked(frames::close(1001, "")),
    ]
    .concat();
    client.send(&last).await;
    assert!(upstream.read_exact(last.len()).await == last);
    client.finish().await;
    upstream.expect_eof().await;
    let report = proxy.report().await;
    assert_eq!(
        (report.end, report.initiator),
        (TunnelEnd::Closed, Side::Upstream)
    );
}

/// RFC 8446 §6.1: an end without `close_notify` may be the work of someone in between.
#[tokio::test]
async fn an_end_without_close_notify_is_a_lost_client() {
    let (proxy, mut client, mut upstream) = one_tunnel().await;
    let said = masked(frames::text("half of what I have to"));
    client.send(&said).await;
    upstream.read_exact(said.len()).await;
    drop(client.into_tcp());
    upstream.expect_reset().await;
    let report = proxy.report().await;
    let end = TunnelEnd::Broken(Side::Client, ErrorKind::UnexpectedEof);
    assert_eq!((report.end, report.initiator), (end, Side::Client));
}

/// Many leave so, and after a close frame nothing can be cut off (RFC 6455 §7.1.1).
#[tokio::test]
async fn an_end_without_close_notify_behind_a_close_frame_is_an_orderly_one() {
    let (proxy, mut client, mut upstream) = one_tunnel().await;
    let close = masked(frames::close(1000, ""));
    client.send(&close).await;
    upstream.read_exact(close.len()).await;
    let answer = unmasked(frames::close(1000, ""));
    upstream.send(&answer).await;
    assert_eq!(client.read(answer.len()).await, answer);
    drop(client.into_tcp());
    upstream.expect_eof().await;
    drop(upstream);
    let report = proxy.report().await;
    assert_eq!(
        (report.end, report.initiator),
        (TunnelEnd::Closed, Side::Client)
    );
}

#[tokio::test]
async fn a_reset_by_the_client_reaches_the_upstream() {
    let (proxy, client, mut upstream) = one_tunnel().await;
    let tcp = client.into_tcp();
    SockRef::from(&tcp)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(tcp);
    upstream.expect_reset().await;
    let report = proxy.report().await;
    let end = TunnelEnd::Broken(Side::Client, ErrorKind::ConnectionReset);
    assert_eq!(report.end, end);
}

#[tokio::test]
async fn a_client_is_told_that_the_upstream_was_lost() {
    let (proxy, mut client, upstream) = one_tunnel().await;
    upstream.reset();
    let close = unmasked(frames::close(1011, "upstream connection lost"));
    assert_eq!(client.read(close.len()).await, close);
    client.send(&masked(frames::close(1011, ""))).await;
    client.finish().await;
    let (rest, end) = client.read_to_end().await;
    assert!(rest.is_empty());
    end.unwrap();
    assert!(proxy.report().await.is_upstream_failure());
}

/// No frame fits into the middle of another; then the end must not look like a clean one.
#[tokio::test]
async fn an_upstream_lost_within_a_frame_is_an_end_without_close_notify() {
    let (proxy, mut client, mut upstream) = one_tunnel().await;
    let frame = unmasked(frames::binary(&payload(8, 1000)));
    upstream.send(&frame[..500]).await;
    assert_eq!(client.read(500).await, frame[..500]);
    upstream.reset();
    let (rest, end) = client.read_to_end().await;
    assert!(rest.is_empty());
    let kind = end.unwrap_err().kind();
    let lost = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
    assert!(lost.contains(&kind), "{kind:?}");
    assert!(proxy.report().await.is_upstream_failure());
}

async fn websocket(addr: SocketAddr, path: &str) -> tokio_tungstenite::WebSocketStream<TlsClient> {
    let client = TlsClient::connect(addr).await;
    let url = format!("wss://app.test{path}");
    within("a handshake", client_async(url, client))
        .await
        .unwrap()
        .0
}

#[tokio::test]
async fn a_client_sees_the_close_codes_of_upstream_and_proxy() {
    let upstream = axum_upstream::start().await;
    let proxy = gate_with(upstream.url(), |layer| layer).await;
    let mut socket = websocket(proxy.addr(), "/ws/close/4001/not%20now").await;
    let message = within("a close", socket.next()).await.unwrap().unwrap();
    drop(socket);
    let close = CloseFrame {
        code: 4001.into(),
        reason: "not now".into(),
    };
    assert_eq!(message, Message::Close(Some(close)));
    proxy.report().await;

    let mut socket = websocket(proxy.addr(), "/ws/echo").await;
    socket.send(Message::text("hello")).await.unwrap();
    let echo = within("an echo", socket.next()).await.unwrap().unwrap();
    assert_eq!(echo, Message::text("hello"));
    let drain = proxy.drain();
    let (drained, message) = tokio::join!(drain.run(), async {
        let message = within("a close", socket.next()).await;
        while within("the end", socket.next()).await.is_some() {}
        message.unwrap().unwrap()
    });
    let Message::Close(Some(frame)) = message else {
        panic!("expected a close, got {message:?}")
    };
    assert_eq!(u16::from(frame.code), CloseCode::GOING_AWAY.as_u16());
    assert_eq!((drained.closed, drained.aborted), (1, 0));
}

//! Slow readers, and endpoints that never hang up, over each kind of connection.
//!
//! The scenes are generic over the connection of one endpoint, its [`Path`]; the other endpoint is
//! on plain TCP. Scenes over HTTP/2 are run by `http2_paths`.

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};
use wsplice::{KeepAlive, Side, TunnelConfig, TunnelEnd};

use crate::support::{
    deadline::within,
    frames::{RawFrame, binary, close, pong},
    raw::handshake_request,
    rng::payload,
    serve::{Server, serve_axum},
    tls::{TlsClient, serve_tls},
    tunnels::{AcceptingUpstream, ProxyServer, encoded_by, opposite},
    upstream::RawConn,
    wire::Wire,
};

/// The frames of a burst, and the payload of each: a mebibyte together.
const BURST: (usize, usize) = (16, 64 * 1024);

/// A slow endpoint reads so much, and then waits.
const SIP: usize = 32 * 1024;
const BETWEEN_SIPS: Duration = Duration::from_millis(62);

/// The end of a connection, in the hands of an endpoint.
pub(crate) trait Path {
    /// Reads exactly so many bytes.
    async fn exactly(&mut self, len: usize) -> Vec<u8>;
    async fn send(&mut self, bytes: &[u8]);
    /// Waits for the orderly end of the connection, with nothing before it.
    async fn orderly_end(&mut self);
}

/// Any stream as a path.
pub(crate) struct Streamed<S>(pub(crate) S);

impl<S: AsyncRead + AsyncWrite + Unpin> Path for Streamed<S> {
    async fn exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let read = within("more bytes", self.0.read_exact(&mut bytes)).await;
        read.expect("the tunnel was cut off");
        bytes
    }

    async fn send(&mut self, bytes: &[u8]) {
        let sending = async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        };
        within("bytes to be taken", sending).await.expect("sending");
    }

    async fn orderly_end(&mut self) {
        let mut rest = Vec::new();
        let end = within("the end", self.0.read_to_end(&mut rest)).await;
        end.expect("an orderly end");
        assert_eq!(rest, b"", "nothing before the end");
    }
}

impl Path for Wire {
    async fn exactly(&mut self, len: usize) -> Vec<u8> {
        self.read_exact(len).await.to_vec()
    }

    async fn send(&mut self, bytes: &[u8]) {
        Wire::send(self, bytes).await;
    }

    async fn orderly_end(&mut self) {
        self.expect_eof().await;
    }
}

/// Reads a frame, slowly if it is long.
pub(crate) async fn slow_frame(path: &mut impl Path) -> RawFrame {
    let mut raw = path.exactly(2).await;
    let (first, second) = (raw[0], raw[1]);
    let len_bytes = match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let long = path.exactly(len_bytes).await;
    let len = match len_bytes {
        0 => usize::from(second & 0x7F),
        _ => long
            .iter()
            .fold(0, |len, byte| len << 8 | usize::from(*byte)),
    };
    raw.extend(long);
    let mask = match second & 0x80 {
        0 => None,
        _ => <[u8; 4]>::try_from(path.exactly(4).await).ok(),
    };
    raw.extend(mask.into_iter().flatten());
    let mut payload = Vec::with_capacity(len);
    while payload.len() < len {
        payload.extend(path.exactly(SIP.min(len - payload.len())).await);
        if len > 125 {
            sleep(BETWEEN_SIPS).await;
        }
    }
    raw.extend_from_slice(&payload);
    if let Some(key) = mask {
        for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
            *byte ^= key;
        }
    }
    RawFrame {
        first,
        mask,
        payload,
        raw,
    }
}

/// Pings this side often. A pong is due long before a slow endpoint has read a burst.
pub(crate) fn impatient(side: Side) -> TunnelConfig {
    let keep_alive = KeepAlive::default()
        .interval(Duration::from_millis(200))
        .pong_timeout(Duration::from_millis(300));
    let config = TunnelConfig::new().write_timeout(Duration::from_secs(10));
    match side {
        Side::Client => config.client_keep_alive(keep_alive),
        _ => config.upstream_keep_alive(keep_alive),
    }
}

/// A burst, and then silence, to an endpoint that reads half a mebibyte a second and answers the
/// pings that it comes to: the tunnel stays open.
pub(crate) async fn burst(
    proxy: &ProxyServer,
    to: Side,
    reader: &mut impl Path,
    from: &mut impl Path,
) {
    let (frames, len) = BURST;
    let sent: Vec<_> = (0..frames as u64)
        .map(|seed| encoded_by(opposite(to), binary(&payload(seed, len))))
        .collect();
    let all = sent.concat();
    let reading = async {
        let (mut received, mut pings) = (Vec::new(), 0);
        // Pings go on after the burst, and are answered in time.
        while received.len() < frames || pings < 3 {
            let frame = slow_frame(reader).await;
            if frame.first == 0x89 {
                pings += 1;
                reader.send(&encoded_by(to, pong(&frame.payload))).await;
            } else {
                received.push(frame.raw);
            }
        }
        received
    };
    let (received, ()) = tokio::join!(reading, from.send(&all));
    assert!(received == sent, "the {to} received other bytes");
    assert_eq!(proxy.registry().count(), 1, "the tunnel is open");
    assert!(proxy.events().closed.is_empty());
}

/// Short waits for the end of connections once both endpoints have closed.
pub(crate) fn closes_soon() -> TunnelConfig {
    TunnelConfig::new().close_timeout(Duration::from_millis(200))
}

/// Both endpoints close, and neither ends its connection: the proxy ends both in order.
pub(crate) async fn both_closes(
    proxy: &ProxyServer,
    first: Side,
    closer: &mut impl Path,
    other: &mut impl Path,
) {
    let question = encoded_by(first, close(4001, "enough"));
    closer.send(&question).await;
    assert_eq!(other.exactly(question.len()).await, question);
    let answer = encoded_by(opposite(first), close(4001, ""));
    other.send(&answer).await;
    assert_eq!(closer.exactly(answer.len()).await, answer);
    closer.orderly_end().await;
    other.orderly_end().await;
    let report = proxy.report().await;
    assert_eq!((report.end, report.initiator), (TunnelEnd::Closed, first));
    assert_eq!(report.unanswered_close, None);
}

/// A client on plain TCP, past its handshake.
pub(crate) async fn tcp(addr: SocketAddr) -> Streamed<TcpStream> {
    let mut client = Streamed(TcpStream::connect(addr).await.expect("a connection"));
    client.send(&handshake_request("/ws/room", &[])).await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.exactly(1).await);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    client
}

pub(crate) async fn tls(addr: SocketAddr) -> Streamed<TlsClient> {
    Streamed(TlsClient::open(addr, "/ws/room").await)
}

/// A proxy with these settings, its upstream, and a client of it.
pub(crate) async fn tunnel<P>(
    config: TunnelConfig,
    serve: impl AsyncFnOnce(Router) -> Server,
    open: impl AsyncFnOnce(SocketAddr) -> P,
) -> (ProxyServer, P, RawConn) {
    let mut accepting = AcceptingUpstream::start().await;
    let proxy = ProxyServer::served([accepting.url()], |layer| layer.tunnel(config), serve).await;
    let client = open(proxy.addr()).await;
    let upstream = accepting.next().await;
    (proxy, client, upstream)
}

#[tokio::test]
async fn a_slow_steady_client_is_alive() {
    let (proxy, mut client, mut upstream) = tunnel(impatient(Side::Client), serve_axum, tcp).await;
    burst(&proxy, Side::Client, &mut client, &mut *upstream).await;
}

#[tokio::test]
async fn a_slow_steady_client_inside_tls_is_alive() {
    let (proxy, mut client, mut upstream) = tunnel(impatient(Side::Client), serve_tls, tls).await;
    burst(&proxy, Side::Client, &mut client, &mut *upstream).await;
}

#[tokio::test]
async fn a_slow_steady_upstream_is_alive() {
    let config = impatient(Side::Upstream);
    let (proxy, mut client, mut upstream) = tunnel(config, serve_axum, tcp).await;
    burst(&proxy, Side::Upstream, &mut *upstream, &mut client).await;
}

#[tokio::test]
async fn both_legs_are_ended_once_both_closes_have_passed_although_neither_side_hangs_up() {
    let (proxy, mut client, mut upstream) = tunnel(closes_soon(), serve_axum, tcp).await;
    both_closes(&proxy, Side::Client, &mut client, &mut *upstream).await;
    let (proxy, mut client, mut upstream) = tunnel(closes_soon(), serve_axum, tcp).await;
    both_closes(&proxy, Side::Upstream, &mut *upstream, &mut client).await;
}

#[tokio::test]
async fn both_legs_are_ended_inside_tls_too_although_neither_side_hangs_up() {
    let (proxy, mut client, mut upstream) = tunnel(closes_soon(), serve_tls, tls).await;
    both_closes(&proxy, Side::Client, &mut client, &mut *upstream).await;
    let (proxy, mut client, mut upstream) = tunnel(closes_soon(), serve_tls, tls).await;
    both_closes(&proxy, Side::Upstream, &mut *upstream, &mut client).await;
}

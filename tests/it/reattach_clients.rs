//! Tunnels of clients over TLS and over HTTP/2 that get another upstream, for each way to lose one.

use std::time::Duration;

#[cfg(feature = "http2")]
use tungstenite::Message;
use wsplice::{
    Pool, TunnelReport,
    balance::First,
    frame::CloseCode,
    tunnel::reattach::{Loss, Reattach},
};

use crate::support::{
    frames::{close, masked, read_frame, text, unmasked},
    tls::{TlsClient, serve_tls},
    tunnels::{AcceptingUpstream, ProxyServer},
    upstream::RawConn,
};
#[cfg(feature = "http2")]
use crate::{
    http2::{Connection, Socket, send, text as next_message},
    support::serve::serve_axum,
};

/// Ways in which an upstream leaves its clients.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// The process is killed, and its kernel ends the connection.
    Killed,
    Reset,
    /// The upstream sends no more, and keeps its connection.
    HalfClosed,
    Restarts,
}

const ENDINGS: [Ending; 4] = [
    Ending::Killed,
    Ending::Reset,
    Ending::HalfClosed,
    Ending::Restarts,
];

impl Ending {
    /// Ends the connection; returns it if it is kept.
    async fn end(self, mut upstream: RawConn) -> Option<RawConn> {
        match self {
            Self::Killed => None,
            Self::Reset => {
                upstream.reset();
                None
            }
            Self::HalfClosed => {
                upstream.fin().await;
                Some(upstream)
            }
            Self::Restarts => {
                upstream.send(&unmasked(close(1012, "restarting"))).await;
                Some(upstream)
            }
        }
    }
}

/// Reattaches without a random delay, as often as there are endings.
fn at_once() -> Reattach {
    Reattach::new().spread(Duration::ZERO).limit(ENDINGS.len())
}

fn assert_losses(report: &TunnelReport) {
    let losses: Vec<_> = report.upstream_changes.iter().map(|it| it.loss).collect();
    let [killed, reset, half_closed, restarts] = losses[..] else {
        panic!("{losses:?}");
    };
    assert_eq!(killed, Loss::ClosedWithoutFrame);
    assert!(matches!(reset, Loss::Broken(_)), "{reset:?}");
    assert_eq!(half_closed, Loss::ClosedWithoutFrame);
    assert_eq!(restarts, Loss::Closed(CloseCode::SERVICE_RESTART));
}

/// A text passes both ways between a client over TLS and its upstream.
async fn converse_over_tls(client: &mut TlsClient, upstream: &mut RawConn) {
    let request = masked(text("to the upstream"));
    client.send(&request).await;
    assert_eq!(upstream.read_exact(request.len()).await, request);
    let response = unmasked(text("to the client"));
    upstream.send(&response).await;
    assert_eq!(client.read(response.len()).await, response);
}

#[tokio::test]
async fn a_client_over_tls_keeps_its_socket_whatever_becomes_of_its_upstream() {
    let mut accepting = AcceptingUpstream::start().await;
    let settings = |layer: wsplice::ProxyLayer| layer.reattach(at_once());
    let proxy = ProxyServer::served([accepting.url()], settings, serve_tls).await;
    let mut client = TlsClient::open(proxy.addr(), "/ws/room").await;
    let mut upstream = accepting.next().await;
    for ending in ENDINGS {
        converse_over_tls(&mut client, &mut upstream).await;
        let _kept = ending.end(upstream).await;
        upstream = accepting.next().await;
    }
    converse_over_tls(&mut client, &mut upstream).await;
    drop(client);
    assert_losses(&proxy.report().await);
}

#[tokio::test]
async fn a_client_over_tls_is_moved() {
    let mut first = AcceptingUpstream::start().await;
    let mut second = AcceptingUpstream::start().await;
    let pool = Pool::new([first.url(), second.url()]).unwrap();
    let settings = |layer: wsplice::ProxyLayer| layer.reattach(Reattach::new());
    let proxy = ProxyServer::start(pool.balance(First::new()), settings, serve_tls).await;
    let mut client = TlsClient::open(proxy.addr(), "/ws/room").await;
    let mut old = first.next().await;
    assert_eq!(proxy.registry().move_where(|_| true, Duration::ZERO), 1);
    let mut upstream = second.next().await;
    assert!(read_frame(&mut old).await.close().is_some());
    let last = [unmasked(text("last")), unmasked(close(1001, ""))];
    old.send(&last.concat()).await;
    assert_eq!(client.read(last[0].len()).await, last[0]);
    converse_over_tls(&mut client, &mut upstream).await;
}

/// A text passes both ways between a client over HTTP/2 and its upstream.
#[cfg(feature = "http2")]
async fn converse_over_http2(client: &mut Socket, upstream: &mut RawConn) {
    send(client, Message::text("to the upstream")).await;
    assert_eq!(read_frame(upstream).await.payload, b"to the upstream");
    upstream.send(&unmasked(text("to the client"))).await;
    assert_eq!(next_message(client).await, Message::text("to the client"));
}

#[cfg(feature = "http2")]
#[tokio::test]
async fn a_client_over_http2_keeps_its_stream_whatever_becomes_of_its_upstream() {
    let mut accepting = AcceptingUpstream::start().await;
    let settings = |layer: wsplice::ProxyLayer| layer.reattach(at_once());
    let proxy = ProxyServer::served([accepting.url()], settings, serve_axum).await;
    let mut connection = Connection::open(proxy.addr()).await;
    let mut client = connection.websocket("/ws/room").await;
    let mut upstream = accepting.next().await;
    for ending in ENDINGS {
        converse_over_http2(&mut client, &mut upstream).await;
        let _kept = ending.end(upstream).await;
        upstream = accepting.next().await;
    }
    converse_over_http2(&mut client, &mut upstream).await;
    send(&mut client, Message::Close(None)).await;
    assert_eq!(read_frame(&mut upstream).await.close(), None);
    upstream.send(&unmasked(close(1000, ""))).await;
    assert_losses(&proxy.report().await);
}

#[cfg(feature = "http2")]
#[tokio::test]
async fn a_client_over_http2_is_moved() {
    let mut first = AcceptingUpstream::start().await;
    let mut second = AcceptingUpstream::start().await;
    let pool = Pool::new([first.url(), second.url()]).unwrap();
    let settings = |layer: wsplice::ProxyLayer| layer.reattach(Reattach::new());
    let proxy = ProxyServer::start(pool.balance(First::new()), settings, serve_axum).await;
    let mut connection = Connection::open(proxy.addr()).await;
    let mut client = connection.websocket("/ws/room").await;
    let mut old = first.next().await;
    assert_eq!(proxy.registry().move_where(|_| true, Duration::ZERO), 1);
    let mut upstream = second.next().await;
    assert!(read_frame(&mut old).await.close().is_some());
    old.send(&[unmasked(text("last")), unmasked(close(1001, ""))].concat())
        .await;
    assert_eq!(next_message(&mut client).await, Message::text("last"));
    converse_over_http2(&mut client, &mut upstream).await;
}

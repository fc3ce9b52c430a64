//! The scenes of `tunnel_paths` with clients on HTTP/2 streams (RFC 8441).

use std::net::SocketAddr;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use wsplice::Side;

use crate::{
    http2::{Connection, connect},
    support::serve::serve_axum,
    tunnel_paths::{Path, Streamed, both_closes, burst, closes_soon, impatient, tunnel},
    tunnel_scenes,
};

/// A stream, and the connection that it is on.
async fn stream(addr: SocketAddr) -> (Streamed<TokioIo<Upgraded>>, Connection) {
    let mut connection = Connection::open(addr).await;
    let response = connection.request(connect("/ws/room", "websocket")).await;
    assert_eq!(response.status(), 200);
    let upgraded = hyper::upgrade::on(response).await.expect("a stream");
    (Streamed(TokioIo::new(upgraded)), connection)
}

/// A stream that keeps its connection.
struct Kept(Streamed<TokioIo<Upgraded>>, #[allow(dead_code)] Connection);

impl Path for Kept {
    async fn exactly(&mut self, len: usize) -> Vec<u8> {
        self.0.exactly(len).await
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.send(bytes).await;
    }

    async fn orderly_end(&mut self) {
        self.0.orderly_end().await;
    }
}

#[tokio::test]
async fn every_end_of_a_client_on_a_stream() {
    let open = async |addr| {
        let (client, connection) = stream(addr).await;
        Kept(client, connection)
    };
    tunnel_scenes::all(serve_axum, open).await;
}

#[tokio::test]
async fn a_slow_steady_client_on_a_stream_is_alive() {
    let config = impatient(Side::Client);
    let (proxy, (mut client, _connection), mut upstream) = tunnel(config, serve_axum, stream).await;
    burst(&proxy, Side::Client, &mut client, &mut *upstream).await;
}

#[tokio::test]
async fn both_legs_are_ended_although_neither_the_stream_nor_the_upstream_is_hung_up() {
    let (proxy, (mut client, _connection), mut upstream) =
        tunnel(closes_soon(), serve_axum, stream).await;
    both_closes(&proxy, Side::Client, &mut client, &mut *upstream).await;
    let (proxy, (mut client, _connection), mut upstream) =
        tunnel(closes_soon(), serve_axum, stream).await;
    both_closes(&proxy, Side::Upstream, &mut *upstream, &mut client).await;
}

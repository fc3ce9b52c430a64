//! The scenes of `tunnel_paths` and `tunnel_scenes` on HTTP/2 streams (RFC 8441): of clients, and to
//! upstreams.

use std::net::SocketAddr;

use axum::Router;
use h2::Reason;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use wsplice::Pool;

use crate::{
    http2::{Connection, connect},
    support::{
        h2_upstream::{H2Upstream, StreamEnd},
        serve::{Server, serve_axum},
    },
    tunnel_paths::{
        Clients, Leave, Path, Streamed, Tcp, TcpUpstreams, Tls, Upstreams, neither_hangs_up,
        slow_readers,
    },
    tunnel_scenes,
};

/// Clients on HTTP/2 streams, each on a connection of its own.
struct Http2;

/// A stream that keeps its connection.
struct Kept(Streamed<TokioIo<Upgraded>>, #[allow(dead_code)] Connection);

impl Clients for Http2 {
    type Path = Kept;

    async fn serve(router: Router) -> Server {
        serve_axum(router).await
    }

    async fn open(proxy: SocketAddr) -> Kept {
        let mut connection = Connection::open(proxy).await;
        let response = connection.request(connect("/ws/room", "websocket")).await;
        assert_eq!(response.status(), 200);
        let upgraded = hyper::upgrade::on(response).await.expect("a stream");
        Kept(Streamed(TokioIo::new(upgraded)), connection)
    }
}

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

impl Upstreams for H2Upstream {
    type Path = StreamEnd;

    async fn start() -> Self {
        Self::start().await
    }

    fn pool(&self) -> Pool {
        Pool::from_upstreams([self.upstream()]).build()
    }

    async fn accept(&mut self) -> StreamEnd {
        self.next().await.accept(&[])
    }
}

impl Path for StreamEnd {
    async fn exactly(&mut self, len: usize) -> Vec<u8> {
        self.read_exact(len).await.to_vec()
    }

    async fn send(&mut self, bytes: &[u8]) {
        Self::send(self, bytes).await;
    }

    async fn orderly_end(&mut self) {
        self.expect_end_or_cancel().await;
    }
}

impl Leave for StreamEnd {
    async fn end(mut self) {
        self.finish();
    }

    /// The stream alone: others may share its connection.
    async fn kill(self) {}

    async fn reset(mut self) {
        self.sending.send_reset(Reason::INTERNAL_ERROR);
    }
}

#[tokio::test]
async fn every_end_of_a_client_on_a_stream() {
    tunnel_scenes::all::<Http2, TcpUpstreams>().await;
}

#[tokio::test]
async fn every_end_of_an_upstream_on_a_stream() {
    tunnel_scenes::all::<Tcp, H2Upstream>().await;
}

#[tokio::test]
async fn every_end_between_a_client_inside_tls_and_an_upstream_on_a_stream() {
    tunnel_scenes::all::<Tls, H2Upstream>().await;
}

#[tokio::test]
async fn every_end_between_a_client_and_an_upstream_on_streams() {
    tunnel_scenes::all::<Http2, H2Upstream>().await;
}

#[tokio::test]
async fn slow_steady_readers_are_alive_with_clients_on_streams() {
    slow_readers::<Http2, TcpUpstreams>().await;
}

#[tokio::test]
async fn slow_steady_readers_are_alive_with_upstreams_on_streams() {
    slow_readers::<Tcp, H2Upstream>().await;
}

#[tokio::test]
async fn both_legs_are_ended_although_neither_the_stream_nor_the_upstream_is_hung_up() {
    neither_hangs_up::<Http2, TcpUpstreams>().await;
}

#[tokio::test]
async fn both_legs_are_ended_although_neither_the_client_nor_the_upstreams_stream_is_hung_up() {
    neither_hangs_up::<Tcp, H2Upstream>().await;
}

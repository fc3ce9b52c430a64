//! The scenes of `tunnel_paths` and `tunnel_scenes` with upstreams inside TLS.

use std::{sync::Arc, time::Duration};

use socket2::SockRef;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring},
    server::TlsStream,
};
use wsplice::{Pool, ProxyLayer, connect::Tls};

use crate::{
    support::{deadline::within, upstream::switching_protocols},
    tls_upstream::{Authority, trusting},
    tunnel_paths::{Leave, Path, Streamed, Tcp, Upstreams, neither_hangs_up, slow_readers},
    tunnel_scenes,
};

/// An upstream inside TLS that accepts every handshake.
struct TlsUpstreams {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    trust: Tls,
}

impl Upstreams for TlsUpstreams {
    type Path = Streamed<TlsStream<TcpStream>>;

    async fn start() -> Self {
        let authority = Authority::new("ours");
        let identity = authority.sign("localhost", |_| {});
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("a TLS version")
            .with_no_client_auth()
            .with_single_cert(identity.chain, identity.key)
            .expect("a fitting key");
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port"),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            trust: trusting(&authority).build().expect("a trusted root"),
        }
    }

    fn pool(&self) -> Pool {
        let port = self.listener.local_addr().expect("an address").port();
        let url = format!("wss://localhost:{port}");
        Pool::new([url]).expect("an upstream").build()
    }

    fn set(&self, layer: ProxyLayer) -> ProxyLayer {
        layer.tls(self.trust.clone())
    }

    async fn accept(&mut self) -> Self::Path {
        let (tcp, _) = within("a connection", self.listener.accept())
            .await
            .expect("a connection");
        tcp.set_nodelay(true).expect("TCP_NODELAY");
        let accepting = within("a TLS handshake", self.acceptor.accept(tcp));
        let mut upstream = Streamed(accepting.await.expect("a TLS handshake"));
        let head = upstream.head().await;
        upstream.send(&switching_protocols(&head, &[])).await;
        upstream
    }
}

impl Leave for Streamed<TlsStream<TcpStream>> {
    async fn end(mut self) {
        let ending = within("the end to be taken", self.0.shutdown());
        ending.await.expect("an end");
    }

    /// Without the `close_notify` of TLS (RFC 8446 §6.1).
    async fn kill(self) {}

    async fn reset(self) {
        let linger = SockRef::from(self.0.get_ref().0).set_linger(Some(Duration::ZERO));
        linger.expect("SO_LINGER");
    }
}

#[tokio::test]
async fn every_end_of_an_upstream_inside_tls() {
    tunnel_scenes::all::<Tcp, TlsUpstreams>().await;
}

#[tokio::test]
async fn slow_steady_readers_are_alive_with_upstreams_inside_tls() {
    slow_readers::<Tcp, TlsUpstreams>().await;
}

#[tokio::test]
async fn both_legs_are_ended_although_no_upstream_inside_tls_hangs_up() {
    neither_hangs_up::<Tcp, TlsUpstreams>().await;
}

//! TLS at the edge: `wss` outside, `ws` inside, and HTTP/2 for browsers.
//!
//! Start a WebSocket server on port 9000 (`cargo run --example echo`), then:
//!
//! ```text
//! cargo run --example tls_edge --features http2
//! websocat --insecure wss://127.0.0.1:3443/ws/anything
//! ```
//!
//! The certificate is made at the start. Browsers want one from files, as `wsplice-gateway` reads it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{BoxError, Extension, Router, routing::get, serve::Listener};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, rustls};
use tower::Layer;
use wsplice::{
    Pool, ProxyLayer,
    headers::{ClientInfo, ClientScheme},
    matcher::path,
};

type Accepted = (TcpStream, SocketAddr);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let proxy = ProxyLayer::new(Pool::new(["ws://127.0.0.1:9000"])?).matching(path("/ws/*"));
    let home = get(|| async { "the WebSocket is at /ws/\n" });
    let app = Router::new().route("/", home).layer(proxy);
    let tls = TlsAcceptor::from(Arc::new(configuration()?));
    let mut listener = TcpListener::bind("127.0.0.1:3443").await?;
    loop {
        // axum's `accept` tries again where a client is gone, or descriptors are short.
        let accepted = Listener::accept(&mut listener).await;
        let connection = serve(accepted, tls.clone(), app.clone());
        tokio::spawn(async { connection.await.map_err(|error| eprintln!("{error}")) });
    }
}

async fn serve(accepted: Accepted, tls: TlsAcceptor, app: Router) -> Result<(), BoxError> {
    let (tcp, peer) = accepted;
    // The proxy does so by itself where it can reach the socket, which is not below TLS.
    tcp.set_nodelay(true)?;
    let handshake = tls.accept_with(tcp, |tls| tls.set_buffer_limit(Some(32 << 10)));
    let stream = tokio::time::timeout(Duration::from_secs(10), handshake).await??;
    // For X-Forwarded-For and X-Forwarded-Proto.
    let client = Extension(ClientInfo::from(peer).with_scheme(ClientScheme::Https));
    let service = TowerToHyperService::new(client.layer(app));
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    // Browsers then send WebSockets over the HTTP/2 connection that they have (RFC 8441 §3). With
    // the default window, one whose upstream does not read would hold up all others.
    let mut http2 = server.http2();
    http2
        .enable_connect_protocol()
        .initial_stream_window_size(64 << 10);
    http2.initial_connection_window_size(16 << 20);
    let io = TokioIo::new(stream);
    server.serve_connection_with_upgrades(io, service).await
}

fn configuration() -> Result<rustls::ServerConfig, BoxError> {
    let made = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()])?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.into()], made.signing_key.into())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Clients keep their sessions themselves, and come back without a signature of ours.
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    Ok(config)
}

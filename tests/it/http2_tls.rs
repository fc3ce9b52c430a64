//! ALPN with upstreams behind TLS: the protocols offered, and the effect of the response.

use std::sync::{Arc, Mutex};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::{
    LazyConfigAcceptor,
    rustls::{ServerConfig, crypto::ring, server::Acceptor},
};
use wsplice::{Pool, Upstream, connect::HttpVersion};

use crate::{
    support::{axum_upstream, frames, raw::RawClient, tunnels::ProxyServer},
    tls_upstream::{Authority, trusting},
};

/// An application behind TLS that records the protocols it was offered.
struct Secured {
    authority: Authority,
    url: String,
    offers: Arc<Mutex<Vec<Vec<String>>>>,
    _task: JoinSet<()>,
}

/// Whether extended CONNECT is allowed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WebSocketsOverH2 {
    Yes,
    No,
}

impl Secured {
    async fn start(speaks: &[&str], websockets: WebSocketsOverH2) -> Self {
        let authority = Authority::new("ours");
        let identity = authority.sign("localhost", |_| {});
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(identity.chain, identity.key)
            .unwrap();
        config.alpn_protocols = speaks.iter().map(|name| name.as_bytes().into()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let offers = Arc::default();
        let mut task = JoinSet::new();
        let config = Arc::new(config);
        task.spawn(serve(listener, config, Arc::clone(&offers), websockets));
        Self {
            authority,
            url: format!("wss://localhost:{port}"),
            offers,
            _task: task,
        }
    }

    async fn proxy(&self, version: HttpVersion) -> ProxyServer {
        let upstream = Upstream::new(&self.url).unwrap().http_version(version);
        let tls = trusting(&self.authority).build().unwrap();
        ProxyServer::over(Pool::from_upstreams([upstream]), |layer| layer.tls(tls)).await
    }

    fn offers(&self) -> Vec<Vec<String>> {
        self.offers.lock().unwrap().clone()
    }
}

async fn serve(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    offers: Arc<Mutex<Vec<Vec<String>>>>,
    websockets: WebSocketsOverH2,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let Ok(started) = hello.await else { continue };
        let names = started.client_hello().alpn().into_iter().flatten();
        let offer = names.map(|name| String::from_utf8_lossy(name).into_owned());
        offers.lock().unwrap().push(offer.collect());
        let Ok(stream) = started.into_stream(Arc::clone(&config)).await else {
            continue;
        };
        connections.spawn(async move {
            let mut server = auto::Builder::new(TokioExecutor::new());
            if websockets == WebSocketsOverH2::Yes {
                server.http2().enable_connect_protocol();
            }
            let app: Router = axum_upstream::router();
            let service = TowerToHyperService::new(app);
            let io = TokioIo::new(stream);
            let _ = server.serve_connection_with_upgrades(io, service).await;
        });
    }
}

/// Sends a message through a tunnel of its own.
async fn echo(proxy: &ProxyServer) -> RawClient {
    let mut client = RawClient::open(proxy.addr(), "/ws/echo").await;
    let question = frames::masked(frames::text("secret"));
    let answer = frames::unmasked(frames::text("secret"));
    assert_eq!(client.exchange(&question, answer.len()).await, answer);
    client
}

#[tokio::test]
async fn http2_is_offered_alone_and_shared() {
    let upstream = Secured::start(&["h2", "http/1.1"], WebSocketsOverH2::Yes).await;
    let proxy = upstream.proxy(HttpVersion::Http2).await;
    let _tunnels = [echo(&proxy).await, echo(&proxy).await];
    assert_eq!(upstream.offers(), [["h2"]]);
}

#[tokio::test]
async fn auto_offers_both_and_takes_what_the_upstream_prefers() {
    let upstream = Secured::start(&["h2", "http/1.1"], WebSocketsOverH2::Yes).await;
    let proxy = upstream.proxy(HttpVersion::Auto).await;
    let _tunnels = [echo(&proxy).await, echo(&proxy).await];
    assert_eq!(upstream.offers(), [["h2", "http/1.1"]]);
}

#[tokio::test]
async fn auto_speaks_http1_to_who_prefers_that_and_remembers() {
    for speaks in [&["http/1.1"][..], &[]] {
        let upstream = Secured::start(speaks, WebSocketsOverH2::Yes).await;
        let proxy = upstream.proxy(HttpVersion::Auto).await;
        let _tunnels = [echo(&proxy).await, echo(&proxy).await];
        let expected: [&[&str]; 2] = [&["h2", "http/1.1"], &["http/1.1"]];
        assert_eq!(upstream.offers(), expected);
    }
}

#[tokio::test]
async fn auto_falls_back_where_h2_takes_no_websockets_and_remembers_rfc8441_3() {
    let upstream = Secured::start(&["h2", "http/1.1"], WebSocketsOverH2::No).await;
    let proxy = upstream.proxy(HttpVersion::Auto).await;
    let _tunnels = [echo(&proxy).await, echo(&proxy).await];
    let expected: [&[&str]; 3] = [&["h2", "http/1.1"], &["http/1.1"], &["http/1.1"]];
    assert_eq!(upstream.offers(), expected);
}

#[tokio::test]
async fn http2_does_not_fall_back() {
    for (speaks, websockets) in [
        (&["h2", "http/1.1"][..], WebSocketsOverH2::No),
        (&[], WebSocketsOverH2::Yes),
    ] {
        let upstream = Secured::start(speaks, websockets).await;
        let proxy = upstream.proxy(HttpVersion::Http2).await;
        let mut client = RawClient::connect(proxy.addr()).await;
        let head = client.handshake("/ws/echo", &[]).await;
        assert_eq!(head.status(), 502);
        let line = client.read_body(&head).await;
        assert_eq!(
            &line[..],
            b"the upstream does not support WebSockets over HTTP/2\n"
        );
    }
}

#[tokio::test]
async fn tls_settings_of_another_layer_are_not_shared_with() {
    let upstream = Secured::start(&["h2"], WebSocketsOverH2::Yes).await;
    let trusted = upstream.proxy(HttpVersion::Http2).await;
    let _tunnel = echo(&trusted).await;
    let stranger = Authority::new("a stranger");
    let pool = Pool::from_upstreams([Upstream::new(&upstream.url)
        .unwrap()
        .http_version(HttpVersion::Http2)])
    .build();
    let layer =
        wsplice::ProxyLayer::new(pool.clone()).tls(trusting(&upstream.authority).build().unwrap());
    let derived = layer.clone().tls(trusting(&stranger).build().unwrap());
    for (layer, status) in [(layer, 101), (derived, 502)] {
        let server = crate::support::serve::serve_axum(Router::new().layer(layer)).await;
        let mut client = RawClient::connect(server.addr()).await;
        let head = client.handshake("/ws/echo", &[]).await;
        assert_eq!(head.status(), status);
    }
}

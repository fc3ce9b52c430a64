//! The proxy, behind TCP, TLS and HTTP/2.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tower::{Layer, service_fn, util::BoxCloneSyncService};
use wsplice::{KeepAlive, Pool, ProxyLayer, Registry, Retry, TunnelConfig, matcher::path};

use crate::{
    footprint::Footprint,
    ledger::Ledger,
    listener::listen,
    patience::within,
    support::tls::{client_config, server_config},
    upstream::Upstreams,
    {UPSTREAMS, UPSTREAMS_TEST},
};

/// Time in which everything must be released at a quiet point.
const RELEASED: Duration = Duration::from_secs(120);

/// Bound of each wait of the proxy that a slow machine, or one that pauses, could use up. What the bounds
/// do is no part of this test; what waits for one of them is not released in time.
const BOUND: Duration = Duration::from_secs(900);

type App = BoxCloneSyncService<
    Request<Incoming>,
    Response<wsplice::proxy::ResponseBody<String>>,
    Infallible,
>;

/// Where the clients connect to.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) connector: TlsConnector,
}

/// A proxy with its upstreams, until it is dropped.
pub(crate) struct Proxy {
    target: Target,
    pool: Pool,
    registry: Registry,
    without_clients: Footprint,
    _upstreams: Upstreams,
    _servers: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(ledger: Arc<Ledger>) -> Self {
        let upstreams = Upstreams::start(UPSTREAMS_TEST, UPSTREAMS);
        let urls = upstreams.addrs.iter().map(|addr| format!("ws://{addr}"));
        let pool: Pool = Pool::new(urls).unwrap().into();
        let layer = ProxyLayer::new(pool.clone())
            .matching(path("/ws/*"))
            .connect_timeout(BOUND)
            .handshake_timeout(BOUND)
            .client_upgrade_timeout(BOUND)
            .retry(Retry::new().within(BOUND))
            .tunnel(tunnel_config())
            .observer(ledger);
        let registry = layer.registry();
        let inner = service_fn(|_: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(String::from("inner")))
        });
        let app = App::new(layer.layer(BoxCloneSyncService::new(inner)));
        let mut servers = JoinSet::new();
        let (plain, tls) = (listen(), listen());
        let target = Target {
            plain: plain.local_addr().unwrap(),
            tls: tls.local_addr().unwrap(),
            connector: TlsConnector::from(client_config()),
        };
        let acceptor = TlsAcceptor::from(server_config());
        servers.spawn(accept(plain, app.clone(), |stream| async { Some(stream) }));
        servers.spawn(accept(tls, app, move |stream| {
            let accepting = acceptor.accept(stream);
            async { accepting.await.ok() }
        }));
        tokio::task::yield_now().await;
        Self {
            target,
            pool,
            registry,
            without_clients: Footprint::now(),
            _upstreams: upstreams,
            _servers: servers,
        }
    }

    pub(crate) fn target(&self) -> Target {
        self.target.clone()
    }

    /// Waits until the proxy holds nothing of any client.
    ///
    /// # Panics
    ///
    /// When it still does after two minutes.
    pub(crate) async fn is_quiet(&self, ledger: &Ledger) {
        let released = within(RELEASED, async {
            while !(self.has_no_tunnel() && ledger.is_balanced() && self.holds_nothing()) {
                tokio::task::yield_now().await;
            }
        });
        assert!(
            released.await.is_some(),
            "{:?} rather than {:?}; {} tunnels; {ledger}; {:?}",
            Footprint::now(),
            self.without_clients,
            self.registry.count(),
            self.pool.snapshot(),
        );
    }

    fn has_no_tunnel(&self) -> bool {
        let upstreams = self.pool.snapshot();
        self.registry.count() == 0 && upstreams.iter().all(|it| it.tunnels + it.handshakes == 0)
    }

    fn holds_nothing(&self) -> bool {
        // The descriptors are counted last, because that takes time.
        self.without_clients.has_tasks(Footprint::tasks_now())
            && Footprint::now() == self.without_clients
    }
}

fn tunnel_config() -> TunnelConfig {
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(5));
    TunnelConfig::new()
        .keep_alive(keep_alive.pong_timeout(BOUND))
        .close_timeout(BOUND)
        .close_handshake_timeout(BOUND)
        .write_timeout(BOUND)
}

async fn accept<F, S>(
    listener: TcpListener,
    app: App,
    secure: impl Fn(TcpStream) -> F + Send + 'static,
) where
    F: Future<Output = Option<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = stream.set_nodelay(true);
        let (securing, app) = (secure(stream), app.clone());
        tokio::spawn(async move {
            let Some(stream) = securing.await else { return };
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http2().enable_connect_protocol();
            let service = TowerToHyperService::new(app);
            let _ = builder
                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                .await;
        });
    }
}

//! The proxy that is flooded, in the server of the documented recipe.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use tokio::{task::JoinSet, time::timeout};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use wsplice::{ForwardHttp, Pool, ProxyLayer, Registry, TunnelConfig, matcher::path};

use crate::{
    bounded_server::{self, App, Bounds},
    client::{Client, request, within},
    footprint::{Footprint, HeapGrowth},
    upstream::Upstream,
};

/// Bytes by which the heap may differ after a flood. A runtime frees what belonged to a socket in
/// batches, and queues of the runtime may grow once more.
const HEAP_SLACK: isize = 64 << 10;

/// Rounds of each flood: one in which tables get their sizes, and one that is counted.
const ROUNDS: usize = 2;

/// A proxy that owns `/ws/*`, handshakes and other requests alike, its upstream, and around it a
/// service with everything else.
pub(crate) struct Arena {
    pub(crate) addr: SocketAddr,
    pub(crate) pool: Pool,
    registry: Registry,
    /// What the process holds while there is no client.
    without_clients: Footprint,
    _upstream: Upstream,
    _server: JoinSet<()>,
}

/// Limits of the server and of the proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limits {
    /// The defaults, so that a flood must be over by itself.
    Default,
    /// Seconds.
    Short,
}

/// Short limits: still far above the time for which a busy machine lets a client wait.
const SHORT: Duration = Duration::from_secs(2);

impl Arena {
    pub(crate) async fn start(limits: Limits) -> Self {
        let upstream = Upstream::start().await;
        let pool: Pool = Pool::new([format!("ws://{}", upstream.addr)])
            .unwrap()
            .into();
        let layer = limits
            .layer(ProxyLayer::new(pool.clone()))
            .matching(path("/ws/*"));
        let registry = layer.registry();
        let proxy = layer.layer(BoxCloneSyncService::new(service_fn(inner)));
        let app = App::new(proxy.map_response(|response| response.map(BodyExt::boxed_unsync)));
        let listener = bounded_server::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(bounded_server::accept(
            listener,
            app,
            registry.clone(),
            limits.bounds(),
        ));
        Self {
            addr,
            pool,
            registry,
            without_clients: Footprint::now(),
            _upstream: upstream,
            _server: server,
        }
    }

    /// Runs a flood twice. After each, the proxy must serve, and hold nothing of it.
    pub(crate) async fn endures(&self, flood: impl AsyncFn(&Self)) {
        let mut growth = None;
        for _ in 0..ROUNDS {
            flood(self).await;
            self.serves().await;
            self.holds_nothing().await;
            growth.get_or_insert_with(HeapGrowth::since_now);
        }
        let kept = growth.map_or(0, |growth| growth.bytes());
        println!("heap after another round: {kept} bytes");
        assert!(kept < HEAP_SLACK, "{kept} bytes");
    }

    /// Expects that a tunnel, a forwarded request and a request for the inner service are served.
    pub(crate) async fn serves(&self) {
        let mut client = Client::websocket(self.addr, "/ws/alive").await;
        client.send(b"bytes").await.unwrap();
        assert_eq!(client.read_exact(5).await, b"bytes");
        for (path, body) in [("/ws/alive", "upstream"), ("/alive", "inner")] {
            let mut client = Client::connect(self.addr).await;
            let request = request("GET", path, "Connection: close\r\n");
            client.send(request).await.unwrap();
            let response = String::from_utf8(client.read_to_end().await).unwrap();
            assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
            assert!(response.ends_with(body), "{response}");
        }
    }

    /// Waits until the process holds what it held before there was a client.
    async fn holds_nothing(&self) {
        self.holds_only(0).await;
    }

    /// Waits until the process holds nothing but the ends of this many clients.
    pub(crate) async fn holds_only(&self, clients: usize) {
        let expected = self.without_clients.with_descriptors(clients);
        // The descriptors are counted last, because that takes time.
        let is_held = || {
            self.registry.count() > 0
                || self.is_leased()
                || !expected.has_tasks(Footprint::tasks_now())
                || Footprint::now() != expected
        };
        let released = timeout(Duration::from_secs(60), async {
            while is_held() {
                tokio::task::yield_now().await;
            }
        });
        assert!(
            released.await.is_ok(),
            "{:?} rather than {expected:?}; {} tunnels; {:?}",
            Footprint::now(),
            self.registry.count(),
            self.pool.snapshot(),
        );
    }

    /// Waits until no upstream is leased, while clients are still connected.
    pub(crate) async fn leases_nothing(&self) {
        within("all leases to end", async {
            while self.is_leased() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    fn is_leased(&self) -> bool {
        let upstreams = self.pool.snapshot();
        upstreams.iter().any(|it| it.tunnels + it.handshakes > 0)
    }
}

impl Limits {
    fn bounds(self) -> Bounds {
        match self {
            Self::Default => Bounds::default(),
            Self::Short => Bounds {
                head: SHORT,
                http2_idle: SHORT,
                ping_interval: SHORT,
                ping_timeout: SHORT,
                write: SHORT,
                ..Bounds::default()
            },
        }
    }

    fn layer(self, layer: ProxyLayer) -> ProxyLayer<ForwardHttp> {
        // A connection that is kept for another request is not what a flood left behind.
        let forward = ForwardHttp::new().idle_connections(0);
        match self {
            Self::Default => layer.forward_http(forward),
            Self::Short => layer
                .response_write_timeout(SHORT)
                .tunnel(TunnelConfig::new().write_timeout(SHORT))
                .forward_http(
                    forward
                        .request_idle_timeout(SHORT)
                        // Far above the time of an exchange beside a thousand others.
                        .exchange_timeout(5 * SHORT),
                ),
        }
    }
}

async fn inner(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("inner")))
}

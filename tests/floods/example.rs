//! The proxy in the server of the documented recipe, within this process.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use wsplice::{ForwardHttp, Pool, ProxyLayer, Registry, TunnelConfig, matcher::path};

use crate::{
    arena::{Limits, Remains},
    bounded_server::{self, App, Bounds},
    footprint::Footprint,
};

/// Short limits: still far above the time for which a busy machine lets a client wait.
const SHORT: Duration = Duration::from_secs(2);

/// The example, until it is dropped.
pub(crate) struct Example {
    pub(crate) addr: SocketAddr,
    pool: Pool,
    registry: Registry,
    /// What the process holds while there is no client.
    without_clients: Footprint,
    _server: JoinSet<()>,
}

impl Example {
    /// Bytes by which the heap may differ after a flood. A runtime frees what belonged to a socket in
    /// batches, and queues of the runtime may grow once more.
    pub(crate) const HEAP_SLACK: isize = 64 << 10;

    pub(crate) fn start(limits: Limits, upstream: SocketAddr) -> Self {
        let pool: Pool = Pool::new([format!("ws://{upstream}")]).unwrap().into();
        let layer = limits
            .layer(ProxyLayer::new(pool.clone()))
            .matching(path("/ws/*"));
        let registry = layer.registry();
        let proxy = layer.layer(BoxCloneSyncService::new(service_fn(inner)));
        let app = App::new(proxy.map_response(|response| response.map(BodyExt::boxed_unsync)));
        let listener = bounded_server::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(bounded_server::accept(listener, app, limits.bounds()));
        Self {
            addr,
            pool,
            registry,
            without_clients: Footprint::now(),
            _server: server,
        }
    }

    /// Returns what is left beside this many ends of clients.
    pub(crate) fn remains(&self, clients: usize) -> Option<Remains> {
        let expected = self.without_clients.with_descriptors(clients);
        // The descriptors are counted last, because that takes time.
        let holds_more = self.registry.count() > 0
            || self.has_leases()
            || !expected.has_tasks(Footprint::tasks_now())
            || Footprint::now() != expected;
        holds_more.then(|| {
            format!(
                "{:?} rather than {expected:?}; {} tunnels; {:?}",
                Footprint::now(),
                self.registry.count(),
                self.pool.snapshot(),
            )
        })
    }

    pub(crate) fn has_leases(&self) -> bool {
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

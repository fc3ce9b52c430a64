//! The layer, and how it becomes a service.

use std::{fmt, marker::PhantomData, sync::Arc};

use tower_layer::Layer;

use crate::{
    http::forward::ForwardHttp,
    pool::Pool,
    proxy::request_scope::WebSocketsOnly,
    proxy::service::Proxy,
    proxy::settings::{Forward, Settings},
    proxy::terminal::UpgradeRequired,
    tunnel::drain::Drain,
    tunnel::registry::{LayerTunnels, Registry},
};

/// Layer that proxies WebSockets to a pool of upstreams, and passes other requests to the inner
/// service.
///
/// # Defaults
///
/// | method | default | why |
/// |---|---|---|
/// | [`matching`](Self::matching) | every handshake | the pool is the only route |
/// | [`balance`](Self::balance) | the pool's policy | |
/// | [`forward_http`](Self::forward_http) | off | most routers serve plain HTTP themselves |
/// | [`allow_origins`](Self::allow_origins) | any origin | clients that are not browsers send none |
/// | [`keep_alive`](Self::keep_alive) | off | many applications send pings themselves |
/// | [`idle_timeout`](Self::idle_timeout), [`max_lifetime`](Self::max_lifetime) | off | WebSockets may be quiet |
/// | [`half_close_timeout`](Self::half_close_timeout) | 10 s | time for a close handshake |
/// | [`reattach`](Self::reattach) | off | the application's protocol must allow it |
/// | [`connect_timeout`](Self::connect_timeout) | 3 s | leaves time for other upstreams |
/// | [`tls_timeout`](Self::tls_timeout) | 5 s | a few round trips and a signature |
/// | [`handshake_timeout`](Self::handshake_timeout) | 10 s | applications may authenticate first |
/// | [`authorize`](Self::authorize) | every request is admitted | |
/// | [`authorization_timeout`](Self::authorization_timeout) | 5 s | a query of a database, with a retry |
/// | [`limit_by_key`](Self::limit_by_key) | no limits | |
/// | [`client_upgrade_timeout`](Self::client_upgrade_timeout) | 10 s | the 101 only has to be written |
/// | [`response_write_timeout`](Self::response_write_timeout) | 60 s | a client that does not read must not hold a place |
/// | [`retry`](Self::retry) | connecting, at 5 upstreams; no response, at one more; within 30 s | an upstream that is gone must not fail its clients |
/// | [`max_response_head`](Self::max_response_head) | 100 lines, 64 KiB | bounds the memory |
/// | [`trust`](Self::trust) | no proxies | a client must not choose its own address |
/// | [`via`](Self::via) | off | a gateway may leave the header out |
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::get};
/// use wsplice::{KeepAlive, Pool, ProxyLayer, matcher::path};
///
/// let chat = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?;
/// let proxy = ProxyLayer::new(chat)
///     .matching(path("/ws/*"))
///     .keep_alive(KeepAlive::default());
///
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .fallback(|| async { "nothing here" })
///     .layer(proxy);
/// # let _ = app;
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
///
/// # Placement in a router
///
/// axum's `layer` wraps the routes, and the fallback, that a router has by then: the proxy sees a
/// request only if it is in front of whatever would respond to it, and else the request is a 404
/// without a word in the logs. The safest place is around the whole router: `proxy.layer(app)`, or
/// `.layer(proxy)` as the last call. A request for `/ws/a`, or `/app/ws/a` with `nest`:
///
/// | placement | `/ws/*` is proxied |
/// |---|---|
/// | `Router::new().route(..).layer(proxy)` | yes |
/// | `.layer(proxy).route(..)`, without a fallback of one's own | yes |
/// | `.fallback_service(files).layer(proxy)` | yes |
/// | `.layer(proxy).fallback_service(files)` | no: the fallback came later, and is not wrapped |
/// | `.route_layer(proxy)` | no: it wraps routes alone, and `/ws/a` is none |
/// | `.layer(proxy).merge(other)` | no: the fallback of the merged router is not wrapped |
/// | `proxy.layer(router)`, served as it is | yes |
/// | `.route_service("/ws/{*rest}", proxy.into_service())` | yes |
/// | `.fallback_service(proxy.into_service())` | yes |
/// | `.nest("/app", router.layer(proxy))` | no: a nested router without a fallback leaves `/ws/a` to the outer one |
/// | `.nest("/app", router.fallback(..).layer(proxy))` | yes |
/// | `.nest_service("/app", proxy.into_service())` | yes |
///
/// Within `nest` and `nest_service` the prefix is gone from the path: matchers compare `/ws/a`, and
/// that is forwarded. With the feature `axum` reports name the path that the client sent, upstreams
/// get the prefix in `X-Forwarded-Prefix`, and `original_uri` makes the layer match and forward the
/// client's path. A matcher that would own the client's path, and not the shortened one, is hinted at
/// in the logs at the level `debug`.
///
/// # Layers around it
///
/// To a tower layer outside of this one a WebSocket is over with its 101: `ConcurrencyLimitLayer`
/// counts handshakes and not open tunnels, and `TimeoutLayer` bounds the handshake alone. The number
/// of tunnels is limited by [`Admission`](crate::Admission), their time by [`max_lifetime`](Self::max_lifetime) and
/// [`idle_timeout`](Self::idle_timeout). A layer that reads a whole response body before it passes
/// the response on waits until a tunnel or an event stream has ended: limit such a layer to other
/// routes.
///
/// # Panics of the host's functions
///
/// A function of the host that panics in the handling of a request costs that request alone: the
/// response is a 500 ([`ErrorKind::Panic`](crate::ErrorKind::Panic)), and the client's connection lives
/// on. That holds for matchers, the authorization, keys, header functions and edits alike. A panic of an
/// observer, or of the functions that make spans and change rejections, changes no response.
///
/// The type parameter is the scope of requests: WebSocket handshakes alone, or with
/// [`forward_http`](Self::forward_http) all requests that the matcher owns.
#[must_use]
pub struct ProxyLayer<T = WebSocketsOnly> {
    settings: Arc<Settings>,
    scope: PhantomData<fn() -> T>,
}

impl ProxyLayer {
    /// Creates a layer that proxies every WebSocket handshake to this pool: a [`Pool`], perhaps
    /// shared with other layers, or the [`PoolBuilder`](crate::pool::PoolBuilder) of one.
    pub fn new(pool: impl Into<Pool>) -> Self {
        Self {
            settings: Arc::new(Settings::new(pool.into())),
            scope: PhantomData,
        }
    }
}

impl<T> ProxyLayer<T> {
    /// Forwards ordinary HTTP requests too, if the matcher owns them: for applications that use
    /// plain HTTP beside their WebSockets, on the same paths and often with the same upstream
    /// (Socket.IO and SockJS polling, SignalR's negotiation, Jupyter, Vite). `None` turns
    /// forwarding off.
    ///
    /// The requests use the same pool, load balancing policy, header settings and rewrite as
    /// handshakes. Bodies are streamed in both directions, with trailers. `CONNECT` is never
    /// forwarded, and requests that the matcher does not own reach the inner service unchanged.
    ///
    /// | | |
    /// |---|---|
    /// | limits | a request counts as a tunnel until its response has ended; see [`Admission`](crate::Admission) |
    /// | health | connection failures count as for handshakes; a response below 400 is a success, from 500 on a failure |
    /// | retry | unsent requests; after that only if [`Retry`](crate::Retry) allows it, for idempotent methods without a body (RFC 9110 §9.2.2) |
    /// | closed idle connection | a new one to the same upstream, under the same condition |
    /// | [`allow_origins`](Self::allow_origins) | applies to requests with an `Origin` |
    /// | drain | requests in flight finish by themselves, new ones get 503 |
    /// | connections to upstreams | are kept and reused, except if each begins with the PROXY protocol; always HTTP/1.1 |
    /// | `Expect: 100-continue` | is passed on; the body follows at the upstream's 100, or after a second of silence |
    ///
    /// Servers wait for responses before they stop, and event streams never end: run the [`Drain`]
    /// beside the server's own shutdown rather than after it, so that its deadline aborts them.
    pub fn forward_http(self, how: impl Into<Option<ForwardHttp>>) -> ProxyLayer<ForwardHttp> {
        let layer = self.with(|settings| {
            settings.forward = how.into().map(|how| Forward {
                how: Arc::new(how),
                connections: Arc::default(),
            });
        });
        ProxyLayer {
            settings: layer.settings,
            scope: PhantomData,
        }
    }

    /// Returns the pool of upstreams.
    #[must_use]
    pub fn pool(&self) -> Pool {
        self.settings.pool.clone()
    }

    /// Returns the registry of open tunnels.
    #[must_use]
    pub fn registry(&self) -> Registry {
        self.settings.registry.clone()
    }

    /// Returns the tunnels of this layer and its clones alone: a part of the registry, which other
    /// layers may [share](Self::with_registry).
    #[must_use]
    pub fn tunnels(&self) -> LayerTunnels {
        self.settings.tunnels.clone()
    }

    /// Returns the handle for a graceful shutdown of all tunnels.
    pub fn drain(&self) -> Drain {
        Drain::new(&self.settings.registry)
    }

    /// Creates a service without an inner one: handshakes that the matcher does not own get a 404,
    /// all other requests that it does not own a 426. Use this service with `route_service`,
    /// `fallback_service`, or hyper without a router.
    pub fn into_service(self) -> Proxy<UpgradeRequired, T> {
        self.layer(UpgradeRequired)
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        let settings = Arc::make_mut(&mut self.settings);
        change(settings);
        settings.update_derived();
        // A layer that may open connections differently needs its own ones.
        if let Some(forward) = &mut settings.forward {
            forward.connections = Arc::default();
        }
        self
    }
}

impl<T> Clone for ProxyLayer<T> {
    fn clone(&self) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
            scope: PhantomData,
        }
    }
}

impl<T> fmt::Debug for ProxyLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyLayer")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl<S, T> Layer<S> for ProxyLayer<T> {
    type Service = Proxy<S, T>;

    fn layer(&self, inner: S) -> Proxy<S, T> {
        if self.settings.pool.uses_tls() {
            self.settings.dial.warn_without_tls();
        }
        self.settings.pool.set_probe_dialer(&self.settings.dial);
        Proxy::new(inner, Arc::clone(&self.settings))
    }
}

//! The layer, with all its settings.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Extensions, HeaderName, HeaderValue, Response};
use tower_layer::Layer;
use tracing::Span;

use crate::{
    error::Error,
    http::forward::ForwardHttp,
    http::head::{PathRewrite, RequestHead},
    http::headers::{ClientInfo, ClientScheme, ForwardedHeaders, HeaderEdits, Networks, Via},
    http::matcher::Matcher,
    http::relay::MAX_HEAD_LINES,
    http::upgrade::Leniency,
    net::connect::Connect,
    net::transport::TcpKeepAlive,
    observe::Observer,
    pool::Pool,
    tunnel::drain::Drain,
    tunnel::registry::Registry,
    tunnel::{KeepAlive, Reattach, TunnelConfig},
    upstream::admission::{Admission, QueueLimits},
    upstream::balance::{AnyBalance, Balance},
    upstream::retry::Retry,
};

use super::{
    request_scope::WebSocketsOnly,
    service::Proxy,
    settings::{Forward, Settings},
    terminal::UpgradeRequired,
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
/// of tunnels is limited by [`Admission`], their time by [`max_lifetime`](Self::max_lifetime) and
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
    /// shared with other layers, or the [`PoolBuilder`](crate::PoolBuilder) of one.
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
                how,
                connections: Arc::default(),
            });
        });
        ProxyLayer {
            settings: layer.settings,
            scope: PhantomData,
        }
    }

    /// Proxies only handshakes that this matcher owns.
    ///
    /// A request whose path has several readings is owned only if the matcher owns every reading;
    /// see [`head`](crate::head#the-path).
    pub fn matching(self, matcher: impl Matcher + 'static) -> Self {
        self.with(|settings| settings.matcher = Some(matcher.boxed()))
    }

    /// Responds with 403 to handshakes whose `Origin` the matcher does not own, before an upstream
    /// is contacted.
    ///
    /// Browsers send WebSocket handshakes with cookies to any host, from any page; an application
    /// that trusts cookies must check the origin (RFC 6455 §10.2). A handshake without an `Origin`
    /// does not come from a browser, and passes.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Pool, ProxyLayer, matcher::{Matcher, origin, same_origin}};
    ///
    /// # let pool = Pool::new(["ws://127.0.0.1:9"])?.build();
    /// let allowed = same_origin().or(origin(["https://admin.example.com"])?);
    /// let proxy = ProxyLayer::new(pool).allow_origins(allowed);
    /// # let _ = proxy;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn allow_origins(self, origins: impl Matcher + 'static) -> Self {
        self.with(|settings| settings.origins = Some(origins.boxed()))
    }

    /// Sets the load-balancing policy of this route, in place of the
    /// [pool's](crate::PoolBuilder::balance). All else about the pool is shared by its layers.
    pub fn balance(self, balance: impl Balance + 'static) -> Self {
        self.with(|settings| {
            settings.pool = settings.pool.clone().with_balance(AnyBalance::new(balance));
        })
    }

    /// Limits the tunnels and handshakes of this route, beside the
    /// [pool's](crate::PoolBuilder::admission) limits for all routes together: a request must pass
    /// both, first this one. The route counts for itself, and its clones count with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use wsplice::{Admission, Pool, ProxyLayer, matcher::path};
    ///
    /// let chat = Pool::new(["ws://10.0.0.1:8080"])?
    ///     .admission(Admission::new().max_tunnels(10_000))
    ///     .build();
    /// let lobby = ProxyLayer::new(chat.clone())
    ///     .matching(path("/lobby"))
    ///     .admission(Admission::new().max_tunnels(1_000))
    ///     .queue(50, Duration::from_secs(2));
    /// let rooms = ProxyLayer::new(chat).matching(path("/rooms/*"));
    /// # let _ = (lobby, rooms);
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn admission(self, admission: Admission) -> Self {
        self.with(|settings| {
            let (_, queue) = settings.pool.limits();
            settings.pool = settings.pool.clone().with_limits(admission, queue);
        })
    }

    /// Sets a queue for this many handshakes, each of which waits at most this long for the route's
    /// own [limits](Self::admission); without one, they get 503 at once. Handshakes that wait for the
    /// limits of the pool or of an upstream are in the [pool's queue](crate::PoolBuilder::queue).
    pub fn queue(self, max_waiters: usize, max_wait: Duration) -> Self {
        self.with(|settings| {
            let (admission, _) = settings.pool.limits();
            let queue = QueueLimits {
                max_waiters,
                max_wait,
            };
            settings.pool = settings.pool.clone().with_limits(admission, queue);
        })
    }

    /// Sends pings on quiet legs; see [`KeepAlive`]. `None` turns pings off.
    pub fn keep_alive(self, keep_alive: impl Into<Option<KeepAlive>>) -> Self {
        self.with_tunnel(|tunnel| tunnel.keep_alive(keep_alive))
    }

    /// Sets all tunnel settings at once, replacing earlier ones.
    pub fn tunnel(self, config: TunnelConfig) -> Self {
        self.with_tunnel(|_| config)
    }

    /// Sets how long a tunnel may be idle before it is closed. `None` turns the limit off.
    pub fn idle_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.with_tunnel(|tunnel| tunnel.idle_timeout(timeout))
    }

    /// Sets how long a tunnel may live before it is closed. `None` turns the limit off.
    pub fn max_lifetime(self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.with_tunnel(|tunnel| tunnel.max_lifetime(lifetime))
    }

    /// Sets how long one direction may be quiet after the other has ended.
    pub fn half_close_timeout(self, half_close_timeout: impl Into<Option<Duration>>) -> Self {
        self.with_tunnel(|tunnel| tunnel.half_close_timeout(half_close_timeout))
    }

    /// Gives a tunnel that loses its upstream another one, while the client's connection lives on; see
    /// [`Reattach`]. Off by default, and turned off by `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Pool, ProxyLayer, Reattach};
    ///
    /// let pool = Pool::new(["ws://10.0.0.1:8080"])?;
    /// let proxy = ProxyLayer::new(pool).reattach(Reattach::new());
    /// # let _ = proxy;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn reattach(self, reattach: impl Into<Option<Reattach>>) -> Self {
        let reattach = reattach.into().map(Arc::new);
        self.with(|settings| settings.reattach = reattach)
    }

    /// Sets how long one attempt to connect to an upstream may take, name lookup included.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.dial.connect_timeout = timeout)
    }

    /// Sets how long the TLS handshake with an upstream may take, once connected.
    pub fn tls_timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.dial.tls_timeout = timeout)
    }

    /// Sets the TLS configuration for `wss://` and `https://` upstreams, instead of the compiled-in
    /// default.
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    pub fn tls(self, tls: crate::net::connect::Tls) -> Self {
        self.with(|settings| settings.dial.set_tls(tls))
    }

    /// Sets how tunnels share connections to [HTTP/2](crate::Upstream::http_version) upstreams.
    #[cfg(feature = "http2")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http2")))]
    pub fn http2_connections(self, connections: crate::net::connect::Http2Connections) -> Self {
        self.with(|settings| settings.dial.set_http2(connections))
    }

    /// Sets how long the upstream may take to respond to the handshake, once connected.
    /// [`Retry::within`] limits all attempts together.
    pub fn handshake_timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.timeouts.handshake = timeout)
    }

    /// Sets how long the client may take nothing of a response whose upstream is still sending it,
    /// 60 seconds by default; `None` sets no limit.
    ///
    /// It applies to refused handshakes and to [forwarded](crate::ForwardHttp) requests alike. When
    /// the time is over ([`ErrorKind::ClientReadTimeout`](crate::ErrorKind::ClientReadTimeout)), the
    /// exchange with the upstream is cut, and its place among the tunnels is free. The client's own
    /// connection is the matter of the host's server, which sees the response's body fail; a server
    /// that waits for the socket to take bytes needs a limit of its own there.
    ///
    /// A server takes more of a response when the client's socket has room: with a large send buffer a
    /// slow client makes progress in steps of a third of that buffer.
    pub fn response_write_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        let timeout = timeout.into();
        self.with(|settings| settings.timeouts.response_write = timeout)
    }

    /// Sets how long the host's server may take to hand over the client's connection after the 101.
    pub fn client_upgrade_timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.timeouts.client_upgrade = timeout)
    }

    /// Sets the failures that are retried at another upstream, the number of attempts, and the time
    /// for all of them. By default connecting is retried, and at one further upstream a request that
    /// got no byte of a response.
    pub fn retry(self, retry: Retry) -> Self {
        self.with(|settings| settings.retry = retry)
    }

    /// Sets the deviations from RFC 6455 that are tolerated; none by default. The guide
    /// `docs/compatibility.md` lists what clients and upstreams do, and what becomes of it.
    pub fn leniency(self, leniency: Leniency) -> Self {
        self.with(|settings| settings.leniency = leniency)
    }

    /// Sets the maximum size of a response's head: header lines (at most 24,000), and bytes (at
    /// least 8 KiB). A larger one becomes a 502.
    pub fn max_response_head(self, lines: usize, bytes: usize) -> Self {
        self.with(|settings| {
            settings.head_limits.lines = lines.min(MAX_HEAD_LINES);
            settings.head_limits.bytes = bytes.max(8 * 1024);
        })
    }

    /// Sets the connector that opens connections to upstreams, instead of the default
    /// [`Connector`](crate::connect::Connector).
    pub fn connector(self, connector: impl Connect + 'static) -> Self {
        self.with(|settings| settings.dial.set_connector(Arc::new(connector)))
    }

    /// Sets TCP keep-alive on the clients' plain TCP connections: these settings, or off.
    ///
    /// The default is [`TcpKeepAlive::default`], or off if tunnels ping their clients at least
    /// every four minutes: pings find a dead client by themselves, and sooner.
    pub fn client_tcp_keep_alive(self, keep_alive: impl Into<Option<TcpKeepAlive>>) -> Self {
        self.with(|settings| settings.client_tcp_keep_alive = keep_alive.into().into())
    }

    /// Sets TCP keep-alive on connections to upstreams, for any [connector](Self::connector): these
    /// settings, or off.
    ///
    /// The default is [`TcpKeepAlive::default`], or off on connections without TLS if tunnels ping
    /// their upstreams at least every four minutes.
    pub fn upstream_tcp_keep_alive(self, keep_alive: impl Into<Option<TcpKeepAlive>>) -> Self {
        self.with(|settings| settings.upstream_tcp_keep_alive = keep_alive.into().into())
    }

    /// Trusts the `X-Forwarded-*` headers of these proxies.
    pub fn trust(self, proxies: Networks) -> Self {
        self.with(|settings| {
            let forwarded = std::mem::take(&mut settings.outbound.forwarded);
            settings.outbound.forwarded = forwarded.trust(proxies);
        })
    }

    /// Sets all settings of `X-Forwarded-*` and `Forwarded` at once, replacing earlier ones.
    pub fn forwarded(self, forwarded: ForwardedHeaders) -> Self {
        self.with(|settings| settings.outbound.forwarded = forwarded)
    }

    /// Adds a `Via` header in both directions (RFC 9110 §7.6.3).
    pub fn via(self, via: Via) -> Self {
        self.with(|settings| settings.outbound.via = Some(via))
    }

    /// Sets the `Host` of requests to upstreams, in place of the client's.
    pub fn host(self, host: HeaderValue) -> Self {
        self.with(|settings| settings.outbound.host = Some(host))
    }

    /// Rewrites the path of requests to upstreams.
    pub fn rewrite(self, rewrite: PathRewrite) -> Self {
        self.with(|settings| settings.outbound.rewrite = Some(rewrite))
    }

    /// Matches and forwards the path that the client sent, where axum's `nest` has removed a prefix from
    /// it: the `OriginalUri` of the router. By default it is the path within `nest`.
    ///
    /// The inner service sees the path within `nest` in any case.
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::Router;
    /// use wsplice::{Pool, ProxyLayer, matcher::path};
    ///
    /// let chat = ProxyLayer::new(Pool::new(["ws://10.0.0.1:8080"])?)
    ///     .matching(path("/app/ws/*"))
    ///     .original_uri();
    /// let app: Router = Router::new().nest_service("/app", chat.into_service());
    /// # let _ = app;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    #[cfg(feature = "axum")]
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn original_uri(self) -> Self {
        self.with(|settings| settings.uses_original_uri = true)
    }

    /// Edits the headers of requests to upstreams. The headers of the handshake itself
    /// (`Connection`, `Upgrade`, the key and the version) are written afterwards and cannot be
    /// changed.
    pub fn request_headers(self, edits: HeaderEdits) -> Self {
        self.with(|settings| settings.outbound.edits = edits)
    }

    /// Protects headers that a middleware in front of the proxy sets in requests: a client that names
    /// one of them in `Connection`, so that the proxy would have to remove it (RFC 9110 §7.6.1), gets
    /// 400. Aliases of them (`X_User_Id`) are removed. Each call replaces the list.
    ///
    /// Headers that the middleware gives as [`UpstreamHeaders`](crate::headers::UpstreamHeaders) need
    /// no protection.
    ///
    /// # Examples
    ///
    /// ```
    /// use http::HeaderName;
    /// use wsplice::{Pool, ProxyLayer};
    ///
    /// # let pool = Pool::new(["ws://127.0.0.1:9"])?;
    /// let proxy = ProxyLayer::new(pool)
    ///     .protect_headers([HeaderName::from_static("x-user-id")]);
    /// # let _ = proxy;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn protect_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.with(|settings| settings.outbound.protected = names.into_iter().collect())
    }

    /// Edits the headers of responses to clients, the 101 included.
    pub fn response_headers(self, edits: HeaderEdits) -> Self {
        self.with(|settings| settings.response_edits = edits)
    }

    /// Sets the function that describes the client's connection, from a request's extensions.
    ///
    /// The function is needed only if the extensions hold neither a [`ClientInfo`] nor, with the
    /// feature `axum`, axum's `ConnectInfo<SocketAddr>`. Without a known address no
    /// `X-Forwarded-For` is sent.
    pub fn client_info<F>(self, client_info: F) -> Self
    where
        F: Fn(&Extensions) -> Option<ClientInfo> + Send + Sync + 'static,
    {
        self.with(|settings| settings.client_info = Some(Arc::new(client_info)))
    }

    /// Sets the scheme of the listener behind which this layer serves: `https` if the host's server
    /// ends TLS. It is the client's scheme wherever the [`ClientInfo`] names none, above all where the
    /// address comes from axum's `ConnectInfo`, which knows nothing of TLS. By default it is `http`.
    ///
    /// Upstreams get the scheme in `X-Forwarded-Proto`, and [`Sticky`](crate::balance) cookies are
    /// `Secure` by it. A trusted proxy's own `X-Forwarded-Proto` goes first.
    pub fn client_scheme(self, scheme: ClientScheme) -> Self {
        self.with(|settings| settings.client_scheme = Some(scheme))
    }

    /// Sets a function that changes the responses of the proxy itself when a request fails.
    ///
    /// The function gets the error and the default response.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wsplice::{Pool, ProxyLayer};
    /// # let pool = Pool::new(["ws://127.0.0.1:9"])?;
    /// let proxy = ProxyLayer::new(pool).map_rejection(|error, mut response| {
    ///     *response.body_mut() = format!("sorry: {:?}", error.kind()).into();
    ///     response
    /// });
    /// # let _ = proxy;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn map_rejection<F>(self, map_rejection: F) -> Self
    where
        F: Fn(&Error, Response<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.with(|settings| settings.map_rejection = Some(Arc::new(map_rejection)))
    }

    /// Sets the function that makes the span of each handshake, in place of the
    /// [default](crate#logs-and-traces). It sees the request's head, `traceparent` included, so that
    /// the span can become a part of the client's trace.
    ///
    /// Fields of the default that the span has too are recorded in it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wsplice::{Pool, ProxyLayer};
    /// use tracing::field::Empty;
    ///
    /// # let pool = Pool::new(["ws://127.0.0.1:9"])?;
    /// let proxy = ProxyLayer::new(pool).make_span(|head| {
    ///     let trace = head.headers().get("traceparent").and_then(|id| id.to_str().ok());
    ///     tracing::info_span!("socket", trace, "url.path" = head.path(), "server.address" = Empty)
    /// });
    /// # let _ = proxy;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn make_span<F>(self, make_span: F) -> Self
    where
        F: Fn(&RequestHead<'_>) -> Span + Send + Sync + 'static,
    {
        self.with(|settings| settings.make_span = Some(Arc::new(make_span)))
    }

    /// Adds an observer of handshakes, requests, tunnels and upstreams, beside those that were added
    /// before. Wrap it in an `Arc` to keep a handle.
    pub fn observer(self, observer: impl Observer + 'static) -> Self {
        let observer: Arc<dyn Observer> = Arc::new(observer);
        self.settings.pool.attach_observer(&observer);
        self.with(|settings| settings.observers.push(observer))
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

    fn with_tunnel(self, change: impl FnOnce(TunnelConfig) -> TunnelConfig) -> Self {
        self.with(|settings| {
            let config = Arc::make_mut(&mut settings.tunnel);
            *config = change(config.clone());
        })
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

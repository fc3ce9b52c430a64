//! The layer, and all its settings.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Extensions, HeaderValue, Response};
use tower_layer::Layer;

use crate::{
    error::Error,
    http::forward::ForwardHttp,
    http::head::PathRewrite,
    http::headers::{ClientInfo, ForwardedHeaders, HeaderEdits, TrustedProxies, Via},
    http::matcher::Matcher,
    net::connect::Connect,
    net::transport::TcpKeepAlive,
    observe::Observer,
    pool::Pool,
    tunnel::drain::Drain,
    tunnel::registry::Registry,
    tunnel::{KeepAlive, TunnelConfig},
    upstream::retry::Retry,
};

use super::{
    request_scope::WebSocketsOnly,
    service::Proxy,
    settings::{Forward, Settings},
    terminal::UpgradeRequired,
};

/// Proxies WebSockets to a pool of upstreams; leaves all else to the service that it wraps.
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
/// The type parameter says what it takes besides handshakes: nothing, until
/// [`forward_http`](Self::forward_http).
#[must_use]
pub struct ProxyLayer<T = WebSocketsOnly> {
    settings: Arc<Settings>,
    takes: PhantomData<fn() -> T>,
}

impl ProxyLayer {
    /// Proxies every WebSocket handshake to this pool.
    pub fn new(pool: Pool) -> Self {
        Self {
            settings: Arc::new(Settings::new(pool)),
            takes: PhantomData,
        }
    }
}

impl<T> ProxyLayer<T> {
    /// Forwards ordinary HTTP requests too, if the matcher owns them: for applications that speak
    /// plain HTTP beside their WebSockets, on the same paths and often to the same upstream
    /// (Socket.IO and SockJS polling, SignalR's negotiation, Jupyter, Vite). `None` turns it off.
    ///
    /// The requests go to the same pool, by the same policy, headers and rewrite as handshakes.
    /// Bodies are streamed both ways, with trailers. `CONNECT` is never forwarded, and what the
    /// matcher does not own reaches the inner service as it came.
    ///
    /// | | |
    /// |---|---|
    /// | counts | as a tunnel until its answer has ended; see [`Admission`](crate::Admission) |
    /// | health | connects and breaks as for handshakes; an answer below 400 is good, from 500 on bad |
    /// | tried again elsewhere | what was not sent; after that only if [`Retry`](crate::Retry) says so, for idempotent methods without a body (RFC 9110 §9.2.2) |
    /// | a kept connection that was closed meanwhile | a new one to the same upstream, under the same condition |
    /// | [`allow_origins`](Self::allow_origins) | goes for them too, where they have an `Origin` |
    /// | drain | those under way end by themselves, new ones get 503 |
    /// | connections to upstreams | are kept and used again, except where each begins with the PROXY protocol; always HTTP/1.1 |
    /// | `Expect: 100-continue` | goes up; the body is asked for when the upstream says 100, or is silent for a second |
    ///
    /// Servers wait for answers before they stop, and event streams have no end: run the
    /// [`Drain`] beside the server's own shutdown rather than after it, so that its deadline cuts
    /// them off.
    pub fn forward_http(self, how: impl Into<Option<ForwardHttp>>) -> ProxyLayer<ForwardHttp> {
        let layer = self.with(|settings| {
            settings.forward = how.into().map(|how| Forward {
                how,
                connections: Arc::default(),
            });
        });
        ProxyLayer {
            settings: layer.settings,
            takes: PhantomData,
        }
    }

    /// Proxies only handshakes that this matcher owns.
    ///
    /// A request whose path can be read in more than one way is owned only if the matcher owns it
    /// in every reading; see [`head`](crate::head#the-path).
    pub fn matching(self, matcher: impl Matcher + 'static) -> Self {
        self.with(|settings| settings.matcher = Some(matcher.boxed()))
    }

    /// Answers 403 to handshakes whose `Origin` the matcher does not own, before any upstream
    /// hears of them.
    ///
    /// Browsers send WebSocket handshakes with cookies to any host, whatever page they come from;
    /// an application that trusts cookies must check the origin (RFC 6455 §10.2). A handshake
    /// without an `Origin` comes from no browser, and passes.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Pool, ProxyLayer, matcher::{Matcher, origin, same_origin}};
    ///
    /// # let pool = Pool::new(["ws://127.0.0.1:9"])?;
    /// let allowed = same_origin().or(origin(["https://admin.example.com"])?);
    /// let proxy = ProxyLayer::new(pool).allow_origins(allowed);
    /// # let _ = proxy;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn allow_origins(self, origins: impl Matcher + 'static) -> Self {
        self.with(|settings| settings.origins = Some(origins.boxed()))
    }

    /// Pings quiet legs; see [`KeepAlive`]. `None` turns it off, which is the default.
    pub fn keep_alive(self, keep_alive: impl Into<Option<KeepAlive>>) -> Self {
        self.with_tunnel(|tunnel| tunnel.keep_alive(keep_alive))
    }

    /// Sets everything about the tunnels at once, replacing what was set before.
    pub fn tunnel(self, config: TunnelConfig) -> Self {
        self.with_tunnel(|_| config)
    }

    /// Closes tunnels on which nothing passed for this long; off by default.
    pub fn idle_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.with_tunnel(|tunnel| tunnel.idle_timeout(timeout))
    }

    /// Closes tunnels that are older than this; off by default.
    pub fn max_lifetime(self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.with_tunnel(|tunnel| tunnel.max_lifetime(lifetime))
    }

    /// How long one direction may be quiet after the other has ended; 10 s by default.
    pub fn half_close_timeout(self, half_close_timeout: impl Into<Option<Duration>>) -> Self {
        self.with_tunnel(|tunnel| tunnel.half_close_timeout(half_close_timeout))
    }

    /// How long one attempt to connect to an upstream may take, name lookup included; 3 s.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.dial.connect_timeout = timeout)
    }

    /// How long the TLS handshake with an upstream may take, once connected; 5 s.
    pub fn tls_timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.dial.tls_timeout = timeout)
    }

    /// Secures connections to `wss://` and `https://` upstreams like this, instead of by what is
    /// compiled in.
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    pub fn tls(self, tls: crate::net::connect::Tls) -> Self {
        self.with(|settings| settings.dial.set_tls(tls))
    }

    /// How tunnels share connections to upstreams that are spoken to in
    /// [HTTP/2](crate::Upstream::http_version).
    #[cfg(feature = "http2")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http2")))]
    pub fn http2_connections(self, connections: crate::net::connect::Http2Connections) -> Self {
        self.with(|settings| settings.dial.share_by(connections))
    }

    /// How long the upstream may take to answer the handshake, once connected; 10 s. What all
    /// attempts together may take is [`Retry::within`], 30 s.
    pub fn handshake_timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.timeouts.handshake = timeout)
    }

    /// How long the host's server may take to hand over the client's connection after the 101
    /// has been given to it; 10 s.
    pub fn client_upgrade_timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.timeouts.client_upgrade = timeout)
    }

    /// Sets what is tried again at another upstream, how often, and how long all attempts together
    /// may take. Unless set, connecting alone is tried again, at up to 5 upstreams, within 30 s.
    pub fn retry(self, retry: Retry) -> Self {
        self.with(|settings| settings.retry = retry)
    }

    /// How large the head of an upstream's answer may be: header lines (100), and bytes (64 KiB,
    /// at least 8 KiB). A larger one is answered with 502.
    pub fn max_response_head(self, lines: usize, bytes: usize) -> Self {
        self.with(|settings| {
            settings.head_limits.lines = lines;
            settings.head_limits.bytes = bytes.max(8 * 1024);
        })
    }

    /// Opens connections to upstreams with this instead of the default
    /// [`Connector`](crate::connect::Connector).
    pub fn connector(self, connector: impl Connect + 'static) -> Self {
        self.with(|settings| settings.dial.set_connector(Arc::new(connector)))
    }

    /// TCP keep-alive on the clients' plain TCP connections: these settings, or off.
    ///
    /// By default it is on, with [`TcpKeepAlive::default`], unless tunnels ping their clients at
    /// least every four minutes: pings find a client that is gone by themselves, and sooner.
    pub fn client_tcp_keep_alive(self, keep_alive: impl Into<Option<TcpKeepAlive>>) -> Self {
        self.with(|settings| settings.client_tcp_keep_alive = keep_alive.into().into())
    }

    /// TCP keep-alive on connections to upstreams, whatever [connector](Self::connector) opened
    /// them: these settings, or off.
    ///
    /// By default it is on, with [`TcpKeepAlive::default`], except on connections without TLS
    /// where tunnels ping their upstreams at least every four minutes.
    pub fn upstream_tcp_keep_alive(self, keep_alive: impl Into<Option<TcpKeepAlive>>) -> Self {
        self.with(|settings| settings.upstream_tcp_keep_alive = keep_alive.into().into())
    }

    /// Believes what these proxies say of the client in `X-Forwarded-*`; nobody by default.
    pub fn trust(self, proxies: TrustedProxies) -> Self {
        self.with(|settings| {
            let forwarded = std::mem::take(&mut settings.outbound.forwarded);
            settings.outbound.forwarded = forwarded.trust(proxies);
        })
    }

    /// Sets everything about `X-Forwarded-*` and `Forwarded`, replacing what was set before.
    pub fn forwarded(self, forwarded: ForwardedHeaders) -> Self {
        self.with(|settings| settings.outbound.forwarded = forwarded)
    }

    /// Adds a `Via` header in both directions (RFC 9110 §7.6.3); none by default.
    pub fn via(self, via: Via) -> Self {
        self.with(|settings| settings.outbound.via = Some(via))
    }

    /// Sends this `Host` to upstreams instead of the client's.
    pub fn host(self, host: HeaderValue) -> Self {
        self.with(|settings| settings.outbound.host = Some(host))
    }

    /// Changes the path on its way up.
    pub fn rewrite(self, rewrite: PathRewrite) -> Self {
        self.with(|settings| settings.outbound.rewrite = Some(rewrite))
    }

    /// Changes headers of requests on their way up. Those of the handshake itself (`Connection`,
    /// `Upgrade`, the key and the version) are set after that and cannot be changed.
    pub fn request_headers(self, edits: HeaderEdits) -> Self {
        self.with(|settings| settings.outbound.edits = edits)
    }

    /// Changes headers of answers on their way down, the 101 included.
    pub fn response_headers(self, edits: HeaderEdits) -> Self {
        self.with(|settings| settings.response_edits = edits)
    }

    /// Tells, from a request's extensions, what connection it came on.
    ///
    /// Needed only where neither a [`ClientInfo`] nor, with the feature `axum`, axum's
    /// `ConnectInfo<SocketAddr>` is in the extensions. Without a known address no
    /// `X-Forwarded-For` is sent.
    pub fn client_info<F>(self, client_info: F) -> Self
    where
        F: Fn(&Extensions) -> Option<ClientInfo> + Send + Sync + 'static,
    {
        self.with(|settings| settings.client_info = Some(Arc::new(client_info)))
    }

    /// Changes the answers that the proxy itself gives when a handshake comes to nothing.
    ///
    /// The function gets the error and the answer as it would be.
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
    pub fn map_rejection<F>(self, restyle: F) -> Self
    where
        F: Fn(&Error, Response<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.with(|settings| settings.restyle = Some(Arc::new(restyle)))
    }

    /// Shows an observer what happens.
    pub fn observer(self, observer: impl Observer + 'static) -> Self {
        let observer: Arc<dyn Observer> = Arc::new(observer);
        self.settings.pool.attach_observer(&observer);
        self.with(|settings| settings.observer = Some(observer))
            .with_tunnel(|tunnel| tunnel)
    }

    /// The tunnels that are open now.
    #[must_use]
    pub fn registry(&self) -> Registry {
        self.settings.registry.clone()
    }

    /// The handle that ends all tunnels in good order.
    pub fn drain(&self) -> Drain {
        self.settings.drain.clone()
    }

    /// A service that proxies what the matcher owns and answers everything else with 426: for
    /// `route_service`, `fallback_service`, or hyper without a router.
    pub fn into_service(self) -> Proxy<UpgradeRequired, T> {
        self.layer(UpgradeRequired)
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        let settings = Arc::make_mut(&mut self.settings);
        change(settings);
        settings.settle();
        // Connections are not shared with a layer that may open them in another way.
        if let Some(forward) = &mut settings.forward {
            forward.connections = Arc::default();
        }
        self
    }

    fn with_tunnel(self, change: impl FnOnce(TunnelConfig) -> TunnelConfig) -> Self {
        self.with(|settings| {
            let config = Arc::make_mut(&mut settings.tunnel);
            *config = change(config.clone()).observed(settings.observer.clone());
        })
    }
}

impl<T> Clone for ProxyLayer<T> {
    fn clone(&self) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
            takes: PhantomData,
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
        self.settings.pool.watch_by(&self.settings.dial);
        Proxy::new(inner, Arc::clone(&self.settings))
    }
}

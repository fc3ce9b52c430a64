//! Builder of tunnels for hosts that do the handshakes themselves.

use std::{fmt, future::IntoFuture, sync::Arc, time::SystemTime};

use bytes::Bytes;
use hyper::upgrade::Upgraded;

use crate::{
    frame::Extensions,
    http::handshake::AcceptedHandshake,
    net::transport::Transport,
    tunnel::info::TunnelInfo,
    tunnel::registry::{Registry, RegistryGuard},
    tunnel::report::TunnelReport,
};

use super::{
    config::TunnelConfig,
    engine::{OnEnd, TaskAffinity, Tunnel, TunnelParts},
};

/// Makes a [`Tunnel`] out of two streams that are past their opening handshakes.
///
/// [`build`](Self::build) returns the tunnel; awaiting the builder builds and runs it.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use wsplice::{
///     KeepAlive, Registry, TunnelConfig, TunnelInfo, connect::Transport, tunnel::Tunnel,
/// };
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let (client, far_client) = tokio::io::duplex(1024);
/// # let (upstream, far_upstream) = tokio::io::duplex(1024);
/// # drop((far_client, far_upstream));
/// # let read_ahead = bytes::Bytes::new();
/// // One for all tunnels of the host:
/// let registry = Registry::new();
/// let config = Arc::new(TunnelConfig::new().keep_alive(KeepAlive::default()));
///
/// let tunnel = Tunnel::builder(Transport::new(client), Transport::new(upstream))
///     .config(Arc::clone(&config))
///     .upstream_read_ahead(read_ahead)
///     .registry(&registry, TunnelInfo::new("ws://10.0.0.1:8080", "/chat"))
///     .build();
/// let handle = tunnel.handle();
/// let report = tunnel.await;
/// assert!(handle.is_over());
/// # let _ = report;
/// # }
/// ```
#[must_use = "a tunnel moves nothing unless it is built and polled"]
pub struct TunnelBuilder {
    parts: TunnelParts,
    config: Arc<TunnelConfig>,
    registry: Option<Registry>,
    info: TunnelInfo,
    on_end: Option<OnEnd>,
}

impl Tunnel {
    /// Joins two streams, with the default settings.
    pub fn new(client: impl Into<Transport>, upstream: impl Into<Transport>) -> Self {
        Self::builder(client, upstream).build()
    }

    /// Joins two streams, with settings, bytes that were read ahead, and a place in a registry.
    pub fn builder(client: impl Into<Transport>, upstream: impl Into<Transport>) -> TunnelBuilder {
        TunnelBuilder::new(client.into(), upstream.into())
    }

    /// Joins a client's connection, which hyper's server has upgraded, and the stream of an upstream that
    /// accepted the handshake. The bytes that were read ahead on both are forwarded first, and the tunnel
    /// knows which extensions the two agreed on.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use wsplice::{TunnelReport, handshake::AcceptedHandshake, tunnel::Tunnel};
    ///
    /// # use hyper::upgrade::OnUpgrade;
    /// async fn splice(client: OnUpgrade, upstream: AcceptedHandshake) -> hyper::Result<TunnelReport> {
    ///     // Ready once the server has sent the 101, `upstream.response`.
    ///     let client = client.await?;
    ///     Ok(Tunnel::after_handshakes(client, upstream).await)
    /// }
    /// ```
    pub fn after_handshakes(client: Upgraded, upstream: AcceptedHandshake) -> TunnelBuilder {
        let (client, read_ahead) = Transport::from_upgraded(client);
        Self::builder(client, upstream.transport)
            .client_read_ahead(read_ahead)
            .upstream_read_ahead(upstream.read_ahead)
            .extensions(upstream.extensions)
    }
}

impl TunnelBuilder {
    fn new(client: Transport, upstream: Transport) -> Self {
        Self {
            parts: TunnelParts {
                client,
                client_read_ahead: Bytes::new(),
                upstream,
                upstream_read_ahead: Bytes::new(),
                extensions: Extensions::Unknown,
                reattach: None,
            },
            config: Arc::default(),
            registry: None,
            info: TunnelInfo::new("", ""),
            on_end: None,
        }
    }

    /// The settings, which tunnels may share: a [`TunnelConfig`] or an `Arc` of one. The defaults
    /// are those of [`TunnelConfig::new`].
    ///
    /// Tunnels that share settings also ping at the same moments, which saves wake-ups.
    pub fn config(mut self, config: impl Into<Arc<TunnelConfig>>) -> Self {
        self.config = config.into();
        self
    }

    /// Bytes of the client that were read after its opening handshake; none by default. They are
    /// forwarded first.
    pub fn client_read_ahead(mut self, bytes: impl Into<Bytes>) -> Self {
        self.parts.client_read_ahead = bytes.into();
        self
    }

    /// Bytes of the upstream that were read after its 101; none by default. They are forwarded
    /// first.
    pub fn upstream_read_ahead(mut self, bytes: impl Into<Bytes>) -> Self {
        self.parts.upstream_read_ahead = bytes.into();
        self
    }

    /// Whether the sides agreed on an extension; unknown by default. With
    /// [`Framing::Enforce`](crate::tunnel::Framing::Enforce), reserved bits are a violation only if they
    /// agreed on none (RFC 6455 §5.2).
    pub fn extensions(mut self, extensions: Extensions) -> Self {
        self.parts.extensions = extensions;
        self
    }

    /// Enters the tunnel into a registry, where it is listed, counted and closed like those of a
    /// layer. The registry numbers it; the `id` of `info` does not matter.
    ///
    /// While the registry is being drained the tunnel is closed as soon as it runs.
    pub fn registry(mut self, registry: &Registry, info: TunnelInfo) -> Self {
        self.registry = Some(registry.clone());
        self.info(info)
    }

    /// The facts of the tunnel that [`TunnelHandle::info`](crate::tunnel::TunnelHandle::info) and
    /// [`on_end`](Self::on_end) show, for a tunnel outside a registry; empty by default.
    pub fn info(mut self, info: TunnelInfo) -> Self {
        self.info = info;
        self
    }

    /// Calls this function with the report of the tunnel, exactly once: at its end, or when it is
    /// dropped before. A drain of the registry counts the tunnel after that.
    ///
    /// The function may be called from a drop, in whatever thread that happens, so it must not
    /// wait. A panic in it is caught. It is not called if the tunnel is never built.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use wsplice::{
    ///     connect::Transport,
    ///     tunnel::{Tunnel, TunnelEnd},
    /// };
    ///
    /// # let (client, _far_client) = tokio::io::duplex(1024);
    /// # let (upstream, _far_upstream) = tokio::io::duplex(1024);
    /// let (reports, ends) = mpsc::channel();
    /// let tunnel = Tunnel::builder(Transport::new(client), Transport::new(upstream))
    ///     .on_end(move |_info, report| {
    ///         let _ = reports.send(report.end.clone());
    ///     })
    ///     .build();
    /// drop(tunnel);
    /// assert_eq!(ends.recv(), Ok(TunnelEnd::Dropped));
    /// ```
    pub fn on_end<F>(mut self, report: F) -> Self
    where
        F: FnOnce(&TunnelInfo, &TunnelReport) + Send + Sync + 'static,
    {
        self.on_end = Some(Box::new(report));
        self
    }

    /// Builds the tunnel. Its lifetime and its place in the registry begin here, and
    /// [`TunnelInfo::opened`] is set to this moment.
    pub fn build(self) -> Tunnel {
        let mut info = self.info;
        info.opened = SystemTime::now();
        let guard = match self.registry {
            Some(registry) => registry.enter(None, info),
            None => RegistryGuard::unlisted(info),
        };
        let affinity = TaskAffinity::any(self.on_end);
        Tunnel::from_parts(self.parts, self.config, guard, affinity)
    }
}

impl IntoFuture for TunnelBuilder {
    type Output = <Tunnel as Future>::Output;
    type IntoFuture = Tunnel;

    fn into_future(self) -> Tunnel {
        self.build()
    }
}

impl fmt::Debug for TunnelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelBuilder")
            .field("client", &self.parts.client)
            .field("upstream", &self.parts.upstream)
            .field("extensions", &self.parts.extensions)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

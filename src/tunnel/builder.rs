//! Builder of tunnels for hosts that do the handshakes themselves.

use std::{fmt, future::IntoFuture, sync::Arc};

use bytes::Bytes;

use crate::{
    frame::Extensions,
    net::transport::Transport,
    tunnel::registry::{Registry, RegistryGuard},
    tunnel::report::TunnelInfo,
};

use super::{
    config::TunnelConfig,
    engine::{PolledBy, Tunnel, TunnelParts},
};

/// Makes a [`Tunnel`] out of two streams that are past their opening handshakes.
///
/// [`build`](Self::build) returns the tunnel; awaiting the builder builds and runs it.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use wsplice::{KeepAlive, Registry, Transport, Tunnel, TunnelConfig, TunnelInfo};
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
    place: Option<(Registry, TunnelInfo)>,
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
            },
            config: Arc::default(),
            place: None,
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
    /// [`Framing::Enforce`](crate::Framing::Enforce), reserved bits are a violation only if they
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
        self.place = Some((registry.clone(), info));
        self
    }

    /// Builds the tunnel. Its lifetime and its place in the registry begin here.
    pub fn build(self) -> Tunnel {
        let guard = match self.place {
            Some((registry, info)) => registry.enter(None, info),
            None => RegistryGuard::unlisted(TunnelInfo::new("", "")),
        };
        Tunnel::from_parts(self.parts, self.config, guard, PolledBy::Anyone)
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

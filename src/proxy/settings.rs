//! What a proxy is told, as its parts read it.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Extensions, Response};

use crate::{
    error::{Error, Side},
    http::forward::{ForwardHttp, IdleConnections},
    http::handshake::{HeadLimits, OutboundRules},
    http::headers::{ClientInfo, HeaderEdits},
    http::matcher::AnyMatcher,
    net::connect::{Dialer, KeptAlive},
    net::transport::TcpKeepAlive,
    observe::Observer,
    pool::Pool,
    tunnel::TunnelConfig,
    tunnel::drain::Drain,
    tunnel::registry::Registry,
    upstream::retry::Retry,
};

/// Everything that the requests of one layer share.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) pool: Pool,
    pub(super) matcher: Option<AnyMatcher>,
    pub(super) origins: Option<AnyMatcher>,
    pub(super) dial: Dialer,
    pub(super) forward: Option<Forward>,
    pub(super) outbound: OutboundRules,
    pub(super) response_edits: HeaderEdits,
    pub(super) timeouts: Timeouts,
    pub(super) head_limits: HeadLimits,
    pub(super) retry: Retry,
    pub(super) client_tcp_keep_alive: TcpKeepAliveChoice,
    pub(super) upstream_tcp_keep_alive: TcpKeepAliveChoice,
    pub(super) tunnel: Arc<TunnelConfig>,
    pub(super) client_info: Option<Arc<ClientInfoOf>>,
    pub(super) restyle: Option<Arc<Restyle>>,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) registry: Registry,
    pub(super) drain: Drain,
}

/// How requests are forwarded, and the connections for it.
#[derive(Clone, Debug)]
pub(super) struct Forward {
    pub(super) how: ForwardHttp,
    pub(super) connections: Arc<IdleConnections>,
}

pub(super) type ClientInfoOf = dyn Fn(&Extensions) -> Option<ClientInfo> + Send + Sync;
pub(super) type Restyle = dyn Fn(&Error, Response<Bytes>) -> Response<Bytes> + Send + Sync;

/// What the host says of TCP keep-alive on a leg.
#[derive(Clone, Debug)]
pub(super) enum TcpKeepAliveChoice {
    /// Nothing: it is on where pings don't do as well.
    Default,
    On(TcpKeepAlive),
    Off,
}

impl From<Option<TcpKeepAlive>> for TcpKeepAliveChoice {
    fn from(keep_alive: Option<TcpKeepAlive>) -> Self {
        keep_alive.map_or(Self::Off, Self::On)
    }
}

/// The waits of the handshake.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// From the request's first byte to the end of the answer's head.
    pub(super) handshake: Duration,
    /// From the 101 to the client's connection being ours.
    pub(super) client_upgrade: Duration,
    /// Silence within the body of a refusal.
    pub(super) refusal_body: Duration,
}

impl Settings {
    pub(super) fn new(pool: Pool) -> Self {
        let registry = Registry::new();
        pool.attach(&registry);
        let mut settings = Self {
            drain: Drain::new(registry.clone()),
            registry,
            pool,
            matcher: None,
            origins: None,
            dial: Dialer::default(),
            forward: None,
            outbound: OutboundRules::default(),
            response_edits: HeaderEdits::new(),
            timeouts: Timeouts {
                handshake: Duration::from_secs(10),
                client_upgrade: Duration::from_secs(10),
                refusal_body: Duration::from_secs(30),
            },
            head_limits: HeadLimits::default(),
            retry: Retry::new(),
            client_tcp_keep_alive: TcpKeepAliveChoice::Default,
            upstream_tcp_keep_alive: TcpKeepAliveChoice::Default,
            tunnel: Arc::new(TunnelConfig::new()),
            client_info: None,
            restyle: None,
            observer: None,
        };
        settings.settle();
        settings
    }

    /// TCP keep-alive for a client's connection.
    pub(super) fn client_tcp_keep_alive(&self) -> Option<TcpKeepAlive> {
        match &self.client_tcp_keep_alive {
            TcpKeepAliveChoice::Default if self.tunnel.pings_are_enough(Side::Client) => None,
            TcpKeepAliveChoice::Default => Some(TcpKeepAlive::default()),
            TcpKeepAliveChoice::On(keep_alive) => Some(keep_alive.clone()),
            TcpKeepAliveChoice::Off => None,
        }
    }

    /// Brings what depends on several settings into line with them.
    pub(super) fn settle(&mut self) {
        self.dial.tcp_keep_alive = match &self.upstream_tcp_keep_alive {
            TcpKeepAliveChoice::Default if self.tunnel.pings_are_enough(Side::Upstream) => {
                KeptAlive::Tls(TcpKeepAlive::default())
            }
            TcpKeepAliveChoice::Default => KeptAlive::Every(TcpKeepAlive::default()),
            TcpKeepAliveChoice::On(keep_alive) => KeptAlive::Every(keep_alive.clone()),
            TcpKeepAliveChoice::Off => KeptAlive::None,
        };
    }

    /// What is known of the connection that a request came on: what the host's function says,
    /// else what the host put into the extensions, else what axum put there.
    pub(super) fn client_info(&self, extensions: &Extensions) -> ClientInfo {
        let told = self
            .client_info
            .as_ref()
            .and_then(|client_info| client_info(extensions));
        told.or_else(|| extensions.get::<ClientInfo>().copied())
            .or_else(|| of_axum(extensions))
            .unwrap_or_default()
    }
}

#[cfg(feature = "axum")]
fn of_axum(extensions: &Extensions) -> Option<ClientInfo> {
    use axum::extract::ConnectInfo;
    use std::net::SocketAddr;

    let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(ClientInfo::from(*peer))
}

#[cfg(not(feature = "axum"))]
const fn of_axum(_extensions: &Extensions) -> Option<ClientInfo> {
    None
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("pool", &self.pool)
            .field("dial", &self.dial)
            .field("forward", &self.forward)
            .field("outbound", &self.outbound)
            .field("timeouts", &self.timeouts)
            .field("tunnel", &self.tunnel)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

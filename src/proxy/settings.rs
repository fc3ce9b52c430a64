//! The settings of a layer, for internal use.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Extensions, HeaderMap, Response};
use tokio::time::Instant;
use tracing::Span;

use crate::{
    error::{Error, Side},
    http::{
        forward::{ForwardHttp, IdleConnections},
        head::RequestHead,
        headers::{ClientInfo, ClientScheme, HeaderEdits, UpstreamHeaders},
        matcher::AnyMatcher,
        relay::{HeadLimits, OutboundRules, ProgressLimits, RelayLimits},
        upgrade::Leniency,
    },
    net::{
        connect::{Dialer, KeepAliveScope},
        transport::{TcpKeepAlive, Transport},
    },
    observe::Observer,
    pool::Pool,
    task::catch_panic,
    tunnel::{
        TcpFallback, TunnelConfig,
        reattach::Reattach,
        registry::{LayerTunnels, Registry},
    },
    upstream::retry::Retry,
};

use super::{
    authorization_request::Authorize,
    key_limit::KeyLimit,
    trace::{MakeSpan, handshake_span},
};

/// Settings that all requests of one layer share.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) pool: Pool,
    pub(super) matcher: Option<AnyMatcher>,
    pub(super) origins: Option<AnyMatcher>,
    pub(super) authorize: Option<Arc<Authorize>>,
    pub(super) key_limits: Vec<KeyLimit>,
    pub(super) upstream_headers: Option<Arc<HeadersFor<UpstreamHeaders>>>,
    pub(super) client_headers: Option<Arc<HeadersFor<HeaderMap>>>,
    pub(super) dial: Dialer,
    pub(super) forward: Option<Forward>,
    pub(super) outbound: OutboundRules,
    pub(super) response_edits: HeaderEdits,
    pub(super) timeouts: Timeouts,
    pub(super) head_limits: HeadLimits,
    pub(super) leniency: Leniency,
    pub(super) retry: Retry,
    pub(super) client_tcp_keep_alive: TcpKeepAliveChoice,
    pub(super) upstream_tcp_keep_alive: TcpKeepAliveChoice,
    pub(super) tunnel: Arc<TunnelConfig>,
    pub(super) reattach: Option<Arc<Reattach>>,
    pub(super) client_info: Option<Arc<ClientInfoFn>>,
    pub(super) client_scheme: Option<ClientScheme>,
    pub(super) map_rejection: Option<Arc<MapRejection>>,
    pub(super) make_span: Option<Arc<MakeSpan>>,
    /// Whether requests are matched and forwarded by the target that the client sent.
    pub(super) uses_original_uri: bool,
    pub(super) observers: Vec<Arc<dyn Observer>>,
    pub(super) registry: Registry,
    /// The layer's part of the registry.
    pub(super) tunnels: LayerTunnels,
}

/// Settings for forwarding, and the idle connections.
#[derive(Clone, Debug)]
pub(super) struct Forward {
    pub(super) how: Arc<ForwardHttp>,
    pub(super) connections: Arc<IdleConnections>,
}

/// Function of the host that makes headers for a request.
pub(super) type HeadersFor<H> = dyn Fn(&RequestHead<'_>) -> H + Send + Sync;
pub(super) type ClientInfoFn = dyn Fn(&Extensions) -> Option<ClientInfo> + Send + Sync;
pub(super) type MapRejection = dyn Fn(&Error, Response<Bytes>) -> Response<Bytes> + Send + Sync;

/// The host's choice of TCP keep-alive on a leg.
#[derive(Clone, Debug)]
pub(super) enum TcpKeepAliveChoice {
    /// On, unless pings serve the same purpose.
    Default,
    On(TcpKeepAlive),
    Off,
}

impl From<Option<TcpKeepAlive>> for TcpKeepAliveChoice {
    fn from(keep_alive: Option<TcpKeepAlive>) -> Self {
        keep_alive.map_or(Self::Off, Self::On)
    }
}

/// Timeouts of the handshake.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// Time from the request's first byte to the end of the response's head.
    pub(super) handshake: Duration,
    /// Time of the host's function to decide on a request.
    pub(super) authorization: Duration,
    /// Time from the 101 to the hand-over of the client's connection.
    pub(super) client_upgrade: Duration,
    /// Idle timeout of a refusal's body.
    pub(super) refusal_body: Duration,
    /// Time in which the client may take nothing of a response.
    pub(super) response_write: Option<Duration>,
}

impl Settings {
    pub(super) fn new(pool: Pool) -> Self {
        let registry = Registry::new();
        let mut settings = Self {
            tunnels: registry.add_layer(),
            registry,
            pool,
            matcher: None,
            origins: None,
            authorize: None,
            key_limits: Vec::new(),
            upstream_headers: None,
            client_headers: None,
            dial: Dialer::default(),
            forward: None,
            outbound: OutboundRules::default(),
            response_edits: HeaderEdits::new(),
            timeouts: Timeouts {
                handshake: Duration::from_secs(10),
                authorization: Duration::from_secs(5),
                client_upgrade: Duration::from_secs(10),
                refusal_body: Duration::from_secs(30),
                response_write: Some(Duration::from_secs(60)),
            },
            head_limits: HeadLimits::default(),
            leniency: Leniency::none(),
            retry: Retry::new(),
            client_tcp_keep_alive: TcpKeepAliveChoice::Default,
            upstream_tcp_keep_alive: TcpKeepAliveChoice::Default,
            tunnel: Arc::new(TunnelConfig::new()),
            reattach: None,
            client_info: None,
            client_scheme: None,
            map_rejection: None,
            make_span: None,
            uses_original_uri: false,
            observers: Vec::new(),
        };
        settings.update_derived();
        settings
    }

    /// Returns the TCP keep-alive settings for a client's connection.
    pub(super) fn client_tcp_keep_alive(&self) -> Option<TcpKeepAlive> {
        match &self.client_tcp_keep_alive {
            TcpKeepAliveChoice::Default if self.tunnel.pings_are_enough(Side::Client) => None,
            TcpKeepAliveChoice::Default => Some(TcpKeepAlive::default()),
            TcpKeepAliveChoice::On(keep_alive) => Some(keep_alive.clone()),
            TcpKeepAliveChoice::Off => None,
        }
    }

    /// Sets TCP keep-alive on the legs of a tunnel with settings of its own, where the host left it
    /// to the default: whether the tunnel's pings would serve the same purpose is not considered.
    pub(super) fn set_default_keep_alive(&self, client: &Transport, upstream: &Transport) {
        for (choice, leg) in [
            (&self.client_tcp_keep_alive, client),
            (&self.upstream_tcp_keep_alive, upstream),
        ] {
            if matches!(choice, TcpKeepAliveChoice::Default) {
                leg.keep_alive(&TcpKeepAlive::default());
            }
        }
    }

    /// Makes the span of a handshake: the default one if the host's function panics.
    pub(super) fn handshake_span(&self, head: &RequestHead<'_>) -> Span {
        let Some(make_span) = &self.make_span else {
            return handshake_span(head);
        };
        catch_panic(|| make_span(head)).unwrap_or_else(|_| {
            tracing::error!("the function that makes spans panicked");
            handshake_span(head)
        })
    }

    /// Calls each observer of the host. A panic in one is logged, and keeps neither the tunnel nor
    /// the other observers from going on.
    pub(super) fn notify(&self, call: impl Fn(&dyn Observer)) {
        for observer in &self.observers {
            if catch_panic(|| call(&**observer)).is_err() {
                tracing::error!("an observer panicked");
            }
        }
    }

    /// Returns the limits on the relay of a refusal.
    pub(super) fn refusal_limits(&self) -> RelayLimits {
        RelayLimits {
            upstream: ProgressLimits::of_silence(self.timeouts.refusal_body),
            client: ProgressLimits::of_silence(self.timeouts.response_write),
            until: None,
        }
    }

    /// Returns the limits on the relay of a forwarded request's response.
    pub(super) fn response_limits(&self, how: &ForwardHttp, until: Option<Instant>) -> RelayLimits {
        RelayLimits {
            upstream: ProgressLimits::of_silence(how.response_idle_timeout),
            client: ProgressLimits {
                silence: self.timeouts.response_write,
                minimum_rate: how.minimum_rate,
            },
            until,
        }
    }

    /// Updates the settings that depend on several others.
    pub(super) fn update_derived(&mut self) {
        let fallback = |choice: &TcpKeepAliveChoice| match choice {
            TcpKeepAliveChoice::Default => TcpFallback::KeepAlive,
            TcpKeepAliveChoice::On(_) | TcpKeepAliveChoice::Off => TcpFallback::None,
        };
        let client = fallback(&self.client_tcp_keep_alive);
        let upstream = fallback(&self.upstream_tcp_keep_alive);
        Arc::make_mut(&mut self.tunnel).set_tcp_fallback(client, upstream);
        self.dial.tcp_keep_alive = match &self.upstream_tcp_keep_alive {
            TcpKeepAliveChoice::Default if self.tunnel.pings_are_enough(Side::Upstream) => {
                KeepAliveScope::Tls(TcpKeepAlive::default())
            }
            TcpKeepAliveChoice::Default => KeepAliveScope::Every(TcpKeepAlive::default()),
            TcpKeepAliveChoice::On(keep_alive) => KeepAliveScope::Every(keep_alive.clone()),
            TcpKeepAliveChoice::Off => KeepAliveScope::None,
        };
    }

    /// Returns the facts about a request's connection: from the host's function, else from the
    /// host's [`ClientInfo`] in the extensions, else from axum.
    pub(super) fn client_info(&self, extensions: &Extensions) -> ClientInfo {
        let supplied = self
            .client_info
            .as_ref()
            .and_then(|client_info| client_info(extensions));
        supplied
            .or_else(|| extensions.get::<ClientInfo>().copied())
            .or_else(|| axum_client_info(extensions))
            .unwrap_or_default()
            .or_scheme(self.client_scheme)
    }
}

#[cfg(feature = "axum")]
fn axum_client_info(extensions: &Extensions) -> Option<ClientInfo> {
    use axum::extract::ConnectInfo;
    use std::net::SocketAddr;

    let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(ClientInfo::from(*peer))
}

#[cfg(not(feature = "axum"))]
const fn axum_client_info(_extensions: &Extensions) -> Option<ClientInfo> {
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

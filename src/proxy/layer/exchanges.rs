//! Settings of the layer: connections to upstreams, timeouts of exchanges, and retries.

use std::{sync::Arc, time::Duration};

use crate::{
    http::relay::MAX_HEAD_LINES, http::upgrade::Leniency, net::connect::Connect,
    net::transport::TcpKeepAlive, upstream::retry::Retry,
};

use super::proxy_layer::ProxyLayer;

impl<T> ProxyLayer<T> {
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
}

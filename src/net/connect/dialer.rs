//! Dialer: connects with a budget for each part, and an error that names the part that failed.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{io::AsyncWriteExt, sync::OnceCell, time::timeout};

use crate::{
    error::{Error, ErrorKind},
    escaped::Escaped,
    net::transport::{TcpKeepAlive, Transport},
    task,
};

use super::{
    address::Address,
    alpn::{Agreed, Alpn},
    connector::Connector,
    http2::Http2Pool,
    local_shortage::is_local_shortage,
    proxy_protocol::ProxyHeader,
    tls::{Tls, default_tls},
    traits::Connect,
};

/// Settings by which connections to upstreams are opened, for tunnels and probes alike.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    pub(crate) connector: Arc<dyn Connect>,
    /// Budget of one attempt, name lookup included.
    pub(crate) connect_timeout: Duration,
    pub(crate) tcp_keep_alive: KeepAliveScope,
    /// Set by the host, or made from the compiled-in features when first needed.
    pub(crate) tls: Arc<OnceCell<Tls>>,
    /// Whether a missing TLS configuration was reported.
    pub(crate) tls_warned: Arc<AtomicBool>,
    /// Budget of a TLS handshake.
    pub(crate) tls_timeout: Duration,
    /// Connections over HTTP/2.
    pub(crate) shared: Http2Pool,
}

/// The connections that get TCP keep-alive, whichever connector opened them.
#[derive(Clone, Debug)]
pub(crate) enum KeepAliveScope {
    Every(TcpKeepAlive),
    /// Plain connections are covered by the tunnels' pings. On those with TLS the option must be
    /// set before the handshake: the socket cannot be reached later, should the pings stop.
    Tls(TcpKeepAlive),
    None,
}

impl KeepAliveScope {
    const fn at(&self, address: &Address) -> Option<&TcpKeepAlive> {
        match (self, address) {
            (Self::Every(keep_alive), _) | (Self::Tls(keep_alive), Address::Tls { .. }) => {
                Some(keep_alive)
            }
            (Self::Tls(_) | Self::None, _) => None,
        }
    }
}

impl Default for Dialer {
    fn default() -> Self {
        Self {
            connector: Arc::new(Connector::new()),
            connect_timeout: Duration::from_secs(3),
            tcp_keep_alive: KeepAliveScope::None,
            tls: Arc::default(),
            tls_warned: Arc::default(),
            tls_timeout: Duration::from_secs(5),
            shared: Http2Pool::default(),
        }
    }
}

impl Dialer {
    /// Sets the connector. Shared connections that the last one opened are not used any more.
    pub(crate) fn set_connector(&mut self, connector: Arc<dyn Connect>) {
        self.connector = connector;
        self.shared = self.shared.with_no_connections();
    }

    /// Sets the TLS configuration. Shared connections that the last one secured are not used any
    /// more.
    #[cfg(feature = "rustls")]
    pub(crate) fn set_tls(&mut self, tls: Tls) {
        self.tls = Arc::new(OnceCell::from(tls));
        self.shared = self.shared.with_no_connections();
    }

    /// Warns once if there is no TLS configuration and the compiled-in features make none. Otherwise
    /// the first sign would be a failed probe or handshake.
    pub(crate) fn warn_without_tls(&self) {
        if self.tls.initialized() || self.tls_warned.load(Ordering::Relaxed) {
            return;
        }
        match default_tls() {
            Ok(tls) => drop(self.tls.set(tls)),
            Err(error) => {
                self.tls_warned.store(true, Ordering::Relaxed);
                tracing::warn!(
                    error = %Escaped(format_args!("{error:#}")),
                    "upstreams with TLS cannot be reached"
                );
            }
        }
    }

    /// Returns the time within which [`dial`](Self::dial) ends by itself.
    pub(crate) const fn limit(&self, address: &Address) -> Duration {
        match address {
            Address::Tls { .. } => self.connect_timeout.saturating_add(self.tls_timeout),
            _ => self.connect_timeout,
        }
    }

    /// Opens a connection to this address, sends the PROXY header if there is one, and secures the
    /// connection if the address demands TLS.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Resolve`], [`ErrorKind::LocalShortage`], [`ErrorKind::Connect`],
    /// [`ErrorKind::ConnectTimeout`], [`ErrorKind::Tls`] or [`ErrorKind::TlsTimeout`].
    pub(crate) async fn dial(
        &self,
        address: &Address,
        header: Option<&ProxyHeader>,
    ) -> Result<Transport, Error> {
        let (transport, _) = self.dial_offering(address, header, Alpn::Http1).await?;
        Ok(transport)
    }

    /// As [`dial`](Self::dial), and returns the protocol agreed on by ALPN. Without TLS that is
    /// always HTTP/1.1.
    pub(crate) async fn dial_offering(
        &self,
        address: &Address,
        header: Option<&ProxyHeader>,
        alpn: Alpn,
    ) -> Result<(Transport, Agreed), Error> {
        let transport = self.connect(address, header).await?;
        match (address, address.server_name()) {
            (Address::Tls { .. }, Some(name)) => self.secure(transport, name, alpn).await,
            _ => Ok((transport, Agreed::Http1)),
        }
    }

    async fn secure(
        &self,
        transport: Transport,
        server_name: &str,
        alpn: Alpn,
    ) -> Result<(Transport, Agreed), Error> {
        let secured = async {
            // Roots are read from files: once, however many connections wait for them.
            let make = || task::blocking(default_tls);
            let tls = self.tls.get_or_try_init(make).await?;
            tls.secure(transport, server_name, alpn).await
        };
        let secured = async {
            secured
                .await
                .map_err(|error| Error::with_source(ErrorKind::Tls, error))
        };
        // Boxed, because it is large, and connections without TLS would carry it.
        within(self.tls_timeout, ErrorKind::TlsTimeout, Box::pin(secured)).await
    }

    async fn connect(
        &self,
        address: &Address,
        header: Option<&ProxyHeader>,
    ) -> Result<Transport, Error> {
        let connected = async {
            let mut transport = self.connect_bare(address).await?;
            if let Some(keep_alive) = self.tcp_keep_alive.at(address) {
                transport.keep_alive(keep_alive);
            }
            if let Some(header) = header {
                let written = write_all(&mut transport, header.as_bytes()).await;
                written.map_err(|error| Error::with_source(ErrorKind::Connect, error))?;
            }
            Ok(transport)
        };
        within(self.connect_timeout, ErrorKind::ConnectTimeout, connected).await
    }

    async fn connect_bare(&self, address: &Address) -> Result<Transport, Error> {
        let opened = self
            .connector
            .connect_within(address, self.connect_timeout)
            .await;
        opened.map_err(|error| {
            let kind = if is_unresolved(address, &error) {
                ErrorKind::Resolve
            } else if is_local_shortage(&error) {
                ErrorKind::LocalShortage
            } else {
                ErrorKind::Connect
            };
            Error::with_source(kind, error)
        })
    }
}

async fn write_all(transport: &mut Transport, bytes: &[u8]) -> io::Result<()> {
    transport.write_all(bytes).await?;
    transport.flush().await
}

async fn within<T>(
    budget: Duration,
    else_kind: ErrorKind,
    part: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(budget, part)
        .await
        .unwrap_or_else(|_| Err(Error::with_source(else_kind, format!("after {budget:?}"))))
}

/// A Unix socket that does not exist is `NotFound` too, but that is a failure to connect.
fn is_unresolved(address: &Address, error: &io::Error) -> bool {
    matches!(address, Address::Tcp { .. } | Address::Tls { .. })
        && error.kind() == io::ErrorKind::NotFound
}

#[cfg(all(test, not(any(feature = "aws-lc-rs", feature = "ring"))))]
mod tests {
    use super::*;

    #[test]
    fn upstreams_that_no_tls_can_reach_are_reported_at_set_up() {
        let dialer = Dialer::default();
        dialer.warn_without_tls();
        assert!(dialer.tls_warned.load(Ordering::Relaxed) && !dialer.tls.initialized());
    }
}

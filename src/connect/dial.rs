//! Connecting with a budget for each part, and an error that says which part failed.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{io::AsyncWriteExt, time::timeout};

use crate::{
    error::{Error, ErrorKind},
    transport::{TcpKeepAlive, Transport},
};

use super::{Address, Connect, Connector, ProxyHeader, Tls, default_tls};

/// How connections to upstreams are opened: for tunnels and for probes alike.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    pub(crate) connector: Arc<dyn Connect>,
    /// Budget of one attempt, name lookup included.
    pub(crate) connect_timeout: Duration,
    pub(crate) tcp_keep_alive: KeptAlive,
    /// Set, or made of what is compiled in when first needed.
    pub(crate) tls: Arc<OnceLock<Tls>>,
    /// Budget of a TLS handshake.
    pub(crate) tls_timeout: Duration,
}

/// Which connections get TCP keep-alive, whoever opened them.
#[derive(Clone, Debug)]
pub(crate) enum KeptAlive {
    Every(TcpKeepAlive),
    /// The tunnels' pings look after the plain ones. To those with TLS it would be the only way
    /// back to the socket, should the pings stop.
    Tls(TcpKeepAlive),
    None,
}

impl KeptAlive {
    const fn at(&self, address: &Address) -> Option<&TcpKeepAlive> {
        match (self, address) {
            (Self::Every(keep_alive), _) | (Self::Tls(keep_alive), Address::Tls { .. }) => {
                Some(keep_alive)
            }
            (Self::Tls(_) | Self::None, _) => None,
        }
    }
}

impl Default for Dial {
    fn default() -> Self {
        Self {
            connector: Arc::new(Connector::new()),
            connect_timeout: Duration::from_secs(3),
            tcp_keep_alive: KeptAlive::None,
            tls: Arc::default(),
            tls_timeout: Duration::from_secs(5),
        }
    }
}

impl Dial {
    /// Opens a connection to this address, sends the header if there is one, and secures the
    /// connection where the address says so.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Resolve`], [`ErrorKind::Connect`], [`ErrorKind::ConnectTimeout`],
    /// [`ErrorKind::Tls`] or [`ErrorKind::TlsTimeout`].
    pub(crate) async fn dial(
        &self,
        address: &Address,
        header: Option<&ProxyHeader>,
    ) -> Result<Transport, Error> {
        let transport = self.connect(address, header).await?;
        match (address, address.server_name()) {
            (Address::Tls { .. }, Some(name)) => self.secure(transport, name).await,
            _ => Ok(transport),
        }
    }

    async fn secure(&self, transport: Transport, server_name: &str) -> Result<Transport, Error> {
        let failed = |error: io::Error| Error::because(ErrorKind::Tls, error);
        let tls = match self.tls.get() {
            Some(tls) => tls,
            None => {
                let tls = default_tls().map_err(failed)?;
                self.tls.get_or_init(|| tls)
            }
        };
        match timeout(self.tls_timeout, tls.secure(transport, server_name)).await {
            Ok(result) => result.map_err(failed),
            Err(_) => {
                let budget = self.tls_timeout;
                Err(Error::because(
                    ErrorKind::TlsTimeout,
                    format!("after {budget:?}"),
                ))
            }
        }
    }

    async fn connect(
        &self,
        address: &Address,
        header: Option<&ProxyHeader>,
    ) -> Result<Transport, Error> {
        let failed = |error| Error::because(ErrorKind::Connect, error);
        let connected = async {
            let connecting = self.connector.connect(address).await;
            let mut transport =
                connecting.map_err(|error| match is_unresolved(address, &error) {
                    true => Error::because(ErrorKind::Resolve, error),
                    false => failed(error),
                })?;
            if let Some(keep_alive) = self.tcp_keep_alive.at(address) {
                transport.keep_alive(keep_alive);
            }
            if let Some(header) = header {
                transport
                    .write_all(header.as_bytes())
                    .await
                    .map_err(failed)?;
                transport.flush().await.map_err(failed)?;
            }
            Ok(transport)
        };
        match timeout(self.connect_timeout, connected).await {
            Ok(result) => result,
            Err(_) => {
                let budget = self.connect_timeout;
                Err(Error::because(
                    ErrorKind::ConnectTimeout,
                    format!("after {budget:?}"),
                ))
            }
        }
    }
}

/// A Unix socket that does not exist is `NotFound` too, but that is a failure to connect.
fn is_unresolved(address: &Address, error: &io::Error) -> bool {
    matches!(address, Address::Tcp { .. } | Address::Tls { .. })
        && error.kind() == io::ErrorKind::NotFound
}

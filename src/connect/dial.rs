//! Connecting with a budget for each part, and an error that says which part failed.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::timeout;

use crate::{
    error::{Error, ErrorKind},
    transport::Transport,
};

use super::{Address, Connect, Connector, Tls, default_tls};

/// How connections to upstreams are opened: for tunnels and for probes alike.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    pub(crate) connector: Arc<dyn Connect>,
    /// Budget of one attempt, name lookup included.
    pub(crate) connect_timeout: Duration,
    /// Set, or made of what is compiled in when first needed.
    pub(crate) tls: Arc<OnceLock<Tls>>,
    /// Budget of a TLS handshake.
    pub(crate) tls_timeout: Duration,
}

impl Default for Dial {
    fn default() -> Self {
        Self {
            connector: Arc::new(Connector::new()),
            connect_timeout: Duration::from_secs(3),
            tls: Arc::default(),
            tls_timeout: Duration::from_secs(5),
        }
    }
}

impl Dial {
    /// Opens a connection to this address, and secures it where the address says so.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Resolve`], [`ErrorKind::Connect`], [`ErrorKind::ConnectTimeout`],
    /// [`ErrorKind::Tls`] or [`ErrorKind::TlsTimeout`].
    pub(crate) async fn dial(&self, address: &Address) -> Result<Transport, Error> {
        let transport = self.connect(address).await?;
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

    async fn connect(&self, address: &Address) -> Result<Transport, Error> {
        match timeout(self.connect_timeout, self.connector.connect(address)).await {
            Ok(Ok(transport)) => Ok(transport),
            Ok(Err(error)) if is_unresolved(address, &error) => {
                Err(Error::because(ErrorKind::Resolve, error))
            }
            Ok(Err(error)) => Err(Error::because(ErrorKind::Connect, error)),
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

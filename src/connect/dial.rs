//! Connecting with a budget for each part, and an error that says which part failed.

use std::{io, sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    error::{Error, ErrorKind},
    transport::Transport,
};

use super::{Address, Connect, Connector};

/// How connections to upstreams are opened: for tunnels and for probes alike.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    pub(crate) connector: Arc<dyn Connect>,
    /// Budget of one attempt, name lookup included.
    pub(crate) connect_timeout: Duration,
}

impl Default for Dial {
    fn default() -> Self {
        Self {
            connector: Arc::new(Connector::new()),
            connect_timeout: Duration::from_secs(3),
        }
    }
}

impl Dial {
    /// Opens a connection to this address.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Resolve`], [`ErrorKind::Connect`] or [`ErrorKind::ConnectTimeout`].
    pub(crate) async fn dial(&self, address: &Address) -> Result<Transport, Error> {
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
    matches!(address, Address::Tcp { .. }) && error.kind() == io::ErrorKind::NotFound
}

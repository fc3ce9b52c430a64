//! TLS on a connection to an upstream.

use std::{fmt, io, sync::Arc};

use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use crate::net::connect::alpn::{Agreed, Alpn};
use crate::net::transport::Transport;

use super::explain;

/// TLS configuration for connections to `wss://` and `https://` upstreams.
///
/// Made from a rustls configuration of your own, or by [`Tls::builder`]. By default, upstreams are
/// checked against the roots whose feature is on: `rustls-platform-verifier`, else
/// `rustls-native-certs`, else `webpki-roots`.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl Tls {
    /// Secures connections with this configuration. Its ALPN protocols are replaced by those
    /// spoken: `http/1.1`, and `h2` to upstreams that are set to
    /// [another version of HTTP](crate::connect::HttpVersion).
    #[must_use]
    pub fn new(config: impl Into<Arc<ClientConfig>>) -> Self {
        let mut config = config.into();
        Arc::make_mut(&mut config).alpn_protocols = Alpn::Http1.names();
        Self {
            config,
            server_name: None,
        }
    }

    #[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
    pub(super) fn with_server_name(mut self, name: Option<ServerName<'static>>) -> Self {
        self.server_name = name;
        self
    }

    /// Secures a connection to this host.
    ///
    /// # Errors
    ///
    /// A name that no certificate can have; a failed handshake, with the check that failed.
    pub(crate) async fn secure(
        &self,
        transport: Transport,
        host: &str,
        alpn: Alpn,
    ) -> io::Result<(Transport, Agreed)> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
        };
        let connector = TlsConnector::from(self.offering(alpn));
        let stream = connector
            .connect(name, transport)
            .await
            .map_err(explain::explain)?;
        let agreed = Agreed::of(stream.get_ref().1.alpn_protocol());
        Ok((Transport::new(stream), agreed))
    }

    /// The configuration with these ALPN protocols. A connection for more than HTTP/1.1 is opened
    /// once for many tunnels, so it can afford a copy; sessions are resumed from the same store.
    fn offering(&self, alpn: Alpn) -> Arc<ClientConfig> {
        let mut config = Arc::clone(&self.config);
        if alpn != Alpn::Http1 {
            Arc::make_mut(&mut config).alpn_protocols = alpn.names();
        }
        config
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

//! TLS on the way to upstreams, with rustls.
//!
//! Nothing here is global: no crypto provider is installed, and with several compiled in one is
//! chosen for each configuration (`aws-lc-rs` before `ring`).

#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
mod builder;
mod explain;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
mod insecure;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
mod roots;

use std::{fmt, io, sync::Arc};

use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use crate::transport::Transport;

#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
pub use builder::{InvalidTls, TlsBuilder};

/// How connections to `wss://` and `https://` upstreams are secured.
///
/// Made from a rustls configuration of yours, or by [`Tls::builder`]. Without one, upstreams are
/// checked against the roots whose feature is on: `rustls-platform-verifier`, else
/// `rustls-native-certs`, else `webpki-roots`.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl Tls {
    /// Secures connections with this configuration. What it offers by ALPN is replaced by
    /// `http/1.1`, the one protocol that is spoken.
    #[must_use]
    pub fn new(config: impl Into<Arc<ClientConfig>>) -> Self {
        let mut config = config.into();
        // A server that prefers h2 must not be led to believe that we speak it.
        Arc::make_mut(&mut config).alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            config,
            server_name: None,
        }
    }

    /// Makes a configuration step by step.
    #[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
    pub fn builder() -> TlsBuilder {
        TlsBuilder::new()
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
    pub(crate) async fn secure(&self, transport: Transport, host: &str) -> io::Result<Transport> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
        };
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = connector
            .connect(name, transport)
            .await
            .map_err(explain::explain)?;
        Ok(Transport::new(stream))
    }
}

/// The configuration that the compiled-in features make, if they make one.
///
/// # Errors
///
/// No provider or no roots are compiled in, or the system's roots cannot be read.
pub(crate) fn default_tls() -> io::Result<Tls> {
    #[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
    return Tls::builder()
        .build()
        .map_err(|error| io::Error::new(io::ErrorKind::Unsupported, error));
    #[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "TLS needs a configuration: no cryptography is compiled in",
    ))
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

//! TLS to clients: handshakes with a certificate that can be replaced.

mod certificate;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::rustls::{ServerConfig, ServerConnection};
use tokio_rustls::server::TlsStream;

use crate::turns::Turns;
use certificate::Certificate;

/// Limit of plaintext that is buffered on a connection for a client that does not read, in bytes.
const WRITE_BUFFER: usize = 32 << 10;

/// Protocols that are offered by ALPN, the preferred one first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// TLS acceptor whose certificate can be replaced while it runs.
pub(crate) struct ClientTls {
    config: Arc<ServerConfig>,
    certificate: Arc<Certificate>,
}

impl ClientTls {
    /// Creates an acceptor with the certificate chain in the file `chain` and its private key in the
    /// file `key`; both are PEM.
    ///
    /// # Errors
    ///
    /// A file cannot be read or used. The sentence names the option and the file.
    pub(crate) fn load(chain: &Path, key: &Path) -> Result<Self, String> {
        let certificate = Arc::new(Certificate::load(chain, key)?);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("no TLS version is compiled in: {error}"))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificate) as _);
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        // Session tickets are kept by clients, so the number of sessions is not limited.
        config.ticketer = ring::Ticketer::new()
            .map_err(|error| format!("no keys for session tickets: {error}"))?;
        Ok(Self {
            config: Arc::new(config),
            certificate,
        })
    }

    /// Reads the certificate and its key from their files again. Connections that are accepted from
    /// now on get the new certificate.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load); the certificate is then unchanged.
    pub(crate) fn reload(&self) -> Result<(), String> {
        self.certificate.reload()
    }

    /// Performs the TLS handshake on an accepted connection. What is computed with the private key and for
    /// the key exchange takes turns; a client that is silent has none.
    ///
    /// # Errors
    ///
    /// The client offers nothing that the gateway supports, or the connection fails.
    pub(crate) async fn accept<S>(&self, stream: S, turns: &Turns) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let config = Arc::clone(&self.config);
        let rest = async {
            let limit = |tls: &mut ServerConnection| tls.set_buffer_limit(Some(WRITE_BUFFER));
            hello.into_stream_with(config, limit).await
        };
        turns.take(rest).await
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientTls").field(&self.certificate).finish()
    }
}

#[cfg(test)]
mod tests;

//! TLS to clients.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys, ServerConfig};
use tokio_rustls::server::TlsStream;

/// What is kept of a client's unencrypted bytes that its connection has not taken yet, in bytes.
const WRITE_BUFFER: usize = 32 << 10;

/// Handshakes under way at once, on all threads together; who comes after them waits in the
/// kernel's queue.
const MAX_HANDSHAKES: usize = 1024;

/// The protocols that are offered, the preferred one first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Accepts TLS, with a certificate that can be replaced by a newer one.
pub(crate) struct Edge {
    acceptor: TlsAcceptor,
    handshakes: Arc<Semaphore>,
    certificate: Arc<Certificate>,
}

/// The certificate that is shown now, and where it comes from.
#[derive(Debug)]
struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Edge {
    /// Shows the certificate in `chain`, whose private key is in `key`; both are PEM.
    ///
    /// # Errors
    ///
    /// A sentence with the option and the file that it is about.
    pub(crate) fn load(chain: &Path, key: &Path) -> Result<Self, String> {
        let certificate = Arc::new(Certificate {
            chain: chain.to_owned(),
            key: key.to_owned(),
            current: RwLock::new(Arc::new(read(chain, key)?)),
        });
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("no TLS version is compiled in: {error}"))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificate) as _);
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        // What resumes a session is kept by the client, so that many can.
        config.ticketer =
            ring::Ticketer::new().map_err(|error| format!("no keys for sessions: {error}"))?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
            certificate,
        })
    }

    /// Reads the files again. New connections get what is in them now.
    ///
    /// # Errors
    ///
    /// As with [`load`](Self::load); then the certificate stays as it was.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let Certificate {
            chain,
            key,
            current,
        } = &*self.certificate;
        let fresh = Arc::new(read(chain, key)?);
        *current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Waits until one more handshake may begin. `None` says that there never will be one.
    pub(crate) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.handshakes).acquire_owned().await.ok()
    }

    /// Shakes hands.
    ///
    /// # Errors
    ///
    /// The client wants something else, or is gone.
    pub(crate) async fn accept(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let accepting = self
            .acceptor
            .accept_with(tcp, |tls| tls.set_buffer_limit(Some(WRITE_BUFFER)));
        accepting.await
    }
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Edge")
            .field(&self.certificate.chain)
            .finish()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

fn read(chain: &Path, key: &Path) -> Result<CertifiedKey, String> {
    let of_chain = |what: String| format!("--tls-cert {}: {what}", chain.display());
    let of_key = |what: String| format!("--tls-key {}: {what}", key.display());

    let text = fs::read(chain).map_err(|error| of_chain(unreadable(&error)))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| of_chain(format!("a certificate in it cannot be read: {error}")))?;
    if certificates.is_empty() {
        return Err(of_chain("there is no certificate in it".to_owned()));
    }
    let text = fs::read(key).map_err(|error| of_key(unreadable(&error)))?;
    let private = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        PemError::NoItemsFound => of_key("there is no private key in it".to_owned()),
        error => of_key(format!("the private key in it cannot be read: {error}")),
    })?;
    CertifiedKey::from_der(certificates, private, &ring::default_provider()).map_err(|error| {
        match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => of_key(format!(
                "the private key is not that of the certificate in {}",
                chain.display()
            )),
            Error::InvalidCertificate(_) => of_chain(format!("it cannot be used: {error}")),
            error => of_key(format!("it cannot be used: {error}")),
        }
    })
}

fn unreadable(error: &io::Error) -> String {
    format!("the file cannot be read: {error}")
}

#[cfg(test)]
mod tests;

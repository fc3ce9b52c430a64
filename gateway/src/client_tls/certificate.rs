//! Certificate that clients get, with the files from which it is read again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys};

/// Current certificate with its key, and the paths of both.
#[derive(Debug)]
pub(super) struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Reads a certificate chain and its private key; both files are PEM.
    ///
    /// # Errors
    ///
    /// A file cannot be read or used. The sentence names the option and the file.
    pub(super) fn load(chain: &Path, key: &Path) -> Result<Self, String> {
        Ok(Self {
            chain: chain.to_owned(),
            key: key.to_owned(),
            current: RwLock::new(Arc::new(read(chain, key)?)),
        })
    }

    /// Replaces the certificate by what its files contain now.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load); the certificate is then unchanged.
    pub(super) fn reload(&self) -> Result<(), String> {
        let renewed = Arc::new(read(&self.chain, &self.key)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

fn read(chain: &Path, key: &Path) -> Result<CertifiedKey, String> {
    let certificates =
        read_chain(chain).map_err(|error| format!("--tls-cert {}: {error}", chain.display()))?;
    let name_key = |error| format!("--tls-key {}: {error}", key.display());
    let private = read_key(key).map_err(name_key)?;
    CertifiedKey::from_der(certificates, private, &ring::default_provider()).map_err(|error| {
        match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => name_key(format!(
                "the private key is not that of the certificate in {}",
                chain.display()
            )),
            Error::InvalidCertificate(_) => {
                format!("--tls-cert {}: it cannot be used: {error}", chain.display())
            }
            error => name_key(format!("it cannot be used: {error}")),
        }
    })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read_file(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("a certificate in it cannot be read: {error}"))?;
    match certificates.is_empty() {
        true => Err("there is no certificate in it".to_owned()),
        false => Ok(certificates),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = read_file(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        PemError::NoItemsFound => "there is no private key in it".to_owned(),
        error => format!("the private key in it cannot be read: {error}"),
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error: io::Error| format!("the file cannot be read: {error}"))
}

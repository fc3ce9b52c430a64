//! TLS, with one certificate and one cipher suite for all subjects.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        CipherSuite, ClientConfig, RootCertStore, ServerConfig,
        client::Resumption,
        crypto::{CryptoProvider, aws_lc_rs, ring},
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::ProducesTickets,
    },
};

use crate::error::Result;

/// The name that the certificate is for.
pub const HOST: &str = "localhost";

/// Cryptography of a subject of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Ring,
    AwsLc,
}

/// Whether clients resume the sessions of earlier connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    Resumed,
    New,
}

/// Files of an ECDSA certificate (P-256) and its key, both PEM.
pub struct CertificateFiles {
    directory: PathBuf,
}

impl CertificateFiles {
    /// Makes a certificate up, and writes its files into the directory.
    pub fn create(directory: &Path) -> Result<Self> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([HOST.to_owned()])?;
        let (chain, key) = (cert.pem(), signing_key.serialize_pem());
        let files = Self::in_directory(directory)?;
        fs::write(files.chain(), &chain)?;
        fs::write(files.key(), &key)?;
        fs::write(files.both(), chain + &key)?;
        Ok(files)
    }

    /// Files that were written before.
    pub fn in_directory(directory: &Path) -> Result<Self> {
        let directory = std::path::absolute(directory)?;
        Ok(Self { directory })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn chain(&self) -> PathBuf {
        self.directory.join("chain.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.directory.join("key.pem")
    }

    /// The chain and the key in one file, as HAProxy reads them.
    pub fn both(&self) -> PathBuf {
        self.directory.join("both.pem")
    }

    /// TLS for a server: with session tickets, and HTTP/1.1 by ALPN.
    pub fn acceptor(&self, backend: Backend) -> Result<TlsAcceptor> {
        let chain = vec![CertificateDer::from_pem_file(self.chain())?];
        let key = PrivateKeyDer::from_pem_file(self.key())?;
        let (provider, ticketer): (CryptoProvider, Arc<dyn ProducesTickets>) = match backend {
            Backend::Ring => (ring::default_provider(), ring::Ticketer::new()?),
            Backend::AwsLc => (aws_lc_rs::default_provider(), aws_lc_rs::Ticketer::new()?),
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ticketer = ticketer;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// TLS for clients, which offer one version, one cipher suite and one curve: each subject has to
    /// do the same work.
    pub fn connector(&self, sessions: Sessions) -> Result<TlsConnector> {
        let mut provider = aws_lc_rs::default_provider();
        provider
            .cipher_suites
            .retain(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
        provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.chain())?)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if sessions == Sessions::New {
            config.resumption = Resumption::disabled();
        }
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

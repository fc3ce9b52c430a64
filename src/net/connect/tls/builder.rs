//! Builder of TLS configurations.

use std::sync::Arc;

use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, pem::PemObject,
    },
};

use super::{
    insecure::AcceptAny,
    invalid::InvalidTls,
    roots::{self, verifier},
    secure::Tls,
};

/// Builder of a [`Tls`] configuration.
///
/// # Examples
///
/// ```no_run
/// use wsplice::connect::Tls;
///
/// let tls = Tls::builder()
///     .root_certificates(&std::fs::read("ca.pem")?)?
///     .server_name("chat.internal")?
///     .build()?;
/// # let _ = tls;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct TlsBuilder {
    roots: Option<RootCertStore>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    server_name: Option<ServerName<'static>>,
    verification: Verification,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Verification {
    #[default]
    Full,
    None,
}

impl Tls {
    /// Starts a builder.
    pub fn builder() -> TlsBuilder {
        TlsBuilder::new()
    }
}

impl TlsBuilder {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Trusts the certificates in this PEM text, instead of the roots of the compiled-in
    /// features. May be called several times.
    ///
    /// # Errors
    ///
    /// The text holds no certificate, or one that cannot be read.
    pub fn root_certificates(mut self, pem: &[u8]) -> Result<Self, InvalidTls> {
        let roots = self.roots.get_or_insert_with(RootCertStore::empty);
        for certificate in certificates(pem)? {
            roots
                .add(certificate)
                .map_err(|error| InvalidTls::new("a root certificate cannot be used", error))?;
        }
        Ok(self)
    }

    /// Rejects the certificates in these revocation lists (PEM): in checks against
    /// [`root_certificates`](Self::root_certificates), Mozilla's or the system's files. The
    /// platform's verifier has lists of its own and takes no others: [`build`](Self::build) then
    /// fails.
    ///
    /// A list that is past its next update still counts, as rustls has it by default: hosts that
    /// fetch lists must keep them fresh.
    ///
    /// # Errors
    ///
    /// The text holds no list, or one that cannot be read.
    pub fn revocation_lists(mut self, pem: &[u8]) -> Result<Self, InvalidTls> {
        let before = self.revoked.len();
        for list in CertificateRevocationListDer::pem_slice_iter(pem) {
            self.revoked.push(
                list.map_err(|error| InvalidTls::new("a revocation list cannot be read", error))?,
            );
        }
        if self.revoked.len() == before {
            return Err(InvalidTls::without_source(
                "there is no revocation list in the PEM text",
            ));
        }
        Ok(self)
    }

    /// Presents this certificate chain to upstreams, with its key (both PEM).
    ///
    /// # Errors
    ///
    /// No certificate or no key is in the texts, or one cannot be read.
    pub fn client_certificate(mut self, chain: &[u8], key: &[u8]) -> Result<Self, InvalidTls> {
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| InvalidTls::new("the client's private key cannot be read", error))?;
        self.client = Some((certificates(chain)?, key));
        Ok(self)
    }

    /// Expects a certificate of this name (SNI included), whatever the upstream's address.
    ///
    /// # Errors
    ///
    /// No certificate can have this name.
    pub fn server_name(mut self, name: &str) -> Result<Self, InvalidTls> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| InvalidTls::new("the server name cannot be used", error))?;
        self.server_name = Some(name);
        Ok(self)
    }

    /// Accepts any certificate whatsoever: the other end of the encryption is then unknown. For
    /// tests only, and not beside roots or revocation lists, which it would make pointless.
    pub fn danger_accept_any_certificate(mut self) -> Self {
        self.verification = Verification::None;
        self
    }

    /// Builds the configuration.
    ///
    /// # Errors
    ///
    /// No roots were given and none are compiled in; the system's cannot be read; the client's
    /// certificate and key don't fit; revocation lists or roots would have no effect.
    pub fn build(self) -> Result<Tls, InvalidTls> {
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| InvalidTls::new("no TLS version is compiled in", error))?;
        let builder = match (self.verification, self.roots) {
            (Verification::None, Some(_)) => {
                return Err(InvalidTls::without_source(
                    "any certificate is to be accepted, so root certificates have no effect",
                ));
            }
            (Verification::None, None) if !self.revoked.is_empty() => {
                return Err(InvalidTls::without_source(
                    "any certificate is to be accepted, so revocation lists have no effect",
                ));
            }
            (Verification::None, None) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AcceptAny::new(provider))),
            (Verification::Full, None) => {
                roots::verify_by_default(builder, &provider, self.revoked)?
            }
            (Verification::Full, Some(roots)) => {
                let verifier = verifier(roots, provider, self.revoked)?;
                builder.with_webpki_verifier(verifier)
            }
        };
        let config = match self.client {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| {
                InvalidTls::new("the client's certificate cannot be used", error)
            })?,
        };
        Ok(Tls::new(config).with_server_name(self.server_name))
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, InvalidTls> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(InvalidTls::without_source(
            "there is no certificate in the PEM text",
        )),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(InvalidTls::new("a certificate cannot be read", error)),
    }
}

#[cfg(feature = "aws-lc-rs")]
fn provider() -> Arc<CryptoProvider> {
    Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
fn provider() -> Arc<CryptoProvider> {
    Arc::new(tokio_rustls::rustls::crypto::ring::default_provider())
}

//! Default roots, by the compiled-in features.

use std::sync::Arc;

use tokio_rustls::rustls::{
    ClientConfig, ConfigBuilder, RootCertStore,
    client::{WantsClientCert, WebPkiServerVerifier},
    crypto::CryptoProvider,
    pki_types::CertificateRevocationListDer,
};

use super::invalid::InvalidTls;

type Unverified = ConfigBuilder<ClientConfig, tokio_rustls::rustls::WantsVerifier>;
type Verified = ConfigBuilder<ClientConfig, WantsClientCert>;

/// The platform's verifier.
#[allow(clippy::needless_pass_by_value)] // as the others take it
#[cfg(feature = "rustls-platform-verifier")]
pub(super) fn verify_by_default(
    builder: Unverified,
    _provider: &Arc<CryptoProvider>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Verified, InvalidTls> {
    use rustls_platform_verifier::BuilderVerifierExt;

    if !revoked.is_empty() {
        return Err(InvalidTls::without_source(
            "the platform's verifier takes no revocation lists; give root certificates with them",
        ));
    }

    builder
        .with_platform_verifier()
        .map_err(|error| InvalidTls::new("the platform's verifier cannot be used", error))
}

/// The roots that the system holds in files.
#[cfg(all(
    feature = "rustls-native-certs",
    not(feature = "rustls-platform-verifier")
))]
pub(super) fn verify_by_default(
    builder: Unverified,
    provider: &Arc<CryptoProvider>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Verified, InvalidTls> {
    let mut roots = tokio_rustls::rustls::RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(loaded.certs);
    if roots.is_empty() {
        return Err(InvalidTls::without_source(
            "the system has no root certificates",
        ));
    }
    let verifier = verifier(roots, Arc::clone(provider), revoked)?;
    Ok(builder.with_webpki_verifier(verifier))
}

/// Mozilla's roots.
#[cfg(all(
    feature = "webpki-roots",
    not(any(feature = "rustls-platform-verifier", feature = "rustls-native-certs"))
))]
pub(super) fn verify_by_default(
    builder: Unverified,
    provider: &Arc<CryptoProvider>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Verified, InvalidTls> {
    let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    let verifier = verifier(roots, Arc::clone(provider), revoked)?;
    Ok(builder.with_webpki_verifier(verifier))
}

/// No roots.
#[cfg(not(any(
    feature = "rustls-platform-verifier",
    feature = "rustls-native-certs",
    feature = "webpki-roots"
)))]
pub(super) fn verify_by_default(
    _builder: Unverified,
    _provider: &Arc<CryptoProvider>,
    _revoked: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Verified, InvalidTls> {
    Err(InvalidTls::without_source(
        "no root certificates were given and none are compiled in",
    ))
}

/// A verifier with these roots and lists.
pub(super) fn verifier(
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Arc<WebPkiServerVerifier>, InvalidTls> {
    let mut builder = WebPkiServerVerifier::builder_with_provider(roots.into(), provider);
    if !revoked.is_empty() {
        // The lists of one authority do not cover the certificates of others.
        builder = builder.with_crls(revoked).allow_unknown_revocation_status();
    }
    builder
        .build()
        .map_err(|error| InvalidTls::new("the root certificates cannot be used", error))
}

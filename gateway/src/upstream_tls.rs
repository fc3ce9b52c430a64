//! TLS to upstreams: the certificates that they are checked against.

use std::error::Error;
use std::fs;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use wsplice::connect::{Address, Tls};
use wsplice::{ProxyLayer, Upstream};

/// Certificates that `wss://` upstreams are checked against.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UpstreamTlsArgs {
    /// PEM file of the certificates that wss:// upstreams are checked
    /// against; may be given several times [default: Mozilla's, built in]
    #[arg(long, value_name = "FILE", value_parser = pem, verbatim_doc_comment)]
    pub(crate) upstream_ca: Vec<Pem>,

    /// Check wss:// upstreams against the system's certificates
    #[arg(long, conflicts_with = "upstream_ca")]
    pub(crate) upstream_system_ca: bool,

    /// Accept any certificate of wss:// upstreams; for tests only
    #[arg(long, conflicts_with_all = ["upstream_ca", "upstream_system_ca"])]
    pub(crate) upstream_insecure: bool,
}

/// Text of a PEM file with at least one certificate.
#[derive(Clone, Debug)]
pub(crate) struct Pem(Vec<u8>);

impl UpstreamTlsArgs {
    fn tls(&self) -> Result<Tls, Box<dyn Error>> {
        if self.upstream_insecure {
            tracing::warn!("certificates of upstreams are not checked");
            return Ok(Tls::builder().danger_accept_any_certificate().build()?);
        }
        if self.upstream_system_ca {
            return verified_by(system_roots()?);
        }
        if self.upstream_ca.is_empty() {
            return verified_by(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect());
        }
        let mut builder = Tls::builder();
        for Pem(text) in &self.upstream_ca {
            builder = builder.root_certificates(text)?;
        }
        Ok(builder.build()?)
    }
}

/// Configures TLS if one of the upstreams wants it.
///
/// # Errors
///
/// There are no certificates to check upstreams against, or they cannot be used.
pub(crate) fn configure(
    proxy: ProxyLayer,
    args: &UpstreamTlsArgs,
    upstreams: &[Upstream],
) -> Result<ProxyLayer, Box<dyn Error>> {
    let wants_tls = |upstream: &Upstream| matches!(upstream.address(), Address::Tls { .. });
    match upstreams.iter().any(wants_tls) {
        true => Ok(proxy.tls(args.tls()?)),
        false => Ok(proxy),
    }
}

fn verified_by(roots: RootCertStore) -> Result<Tls, Box<dyn Error>> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Tls::new(config))
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let reason = match found.errors.first() {
        Some(error) => error.to_string(),
        None => "no usable certificate was found".to_owned(),
    };
    Err(format!("--upstream-system-ca: {reason}"))
}

fn pem(path: &str) -> Result<Pem, String> {
    let text = fs::read(path).map_err(|error| format!("the file cannot be read: {error}"))?;
    match Tls::builder().root_certificates(&text) {
        Ok(_) => Ok(Pem(text)),
        Err(error) => Err(format!("{error:#}")),
    }
}

#[cfg(test)]
mod tests;

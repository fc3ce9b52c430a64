//! TLS to upstreams.

use std::error::Error;
use std::fs;

use wsplice::connect::{Address, InvalidTls, Tls};
use wsplice::{ProxyLayer, Upstream};

use crate::args::Args;

/// What is said of TLS on the command line.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TlsArgs {
    /// PEM file of the certificates that wss:// upstreams are checked
    /// against; may be given several times [default: the roots built in]
    #[arg(long, value_name = "FILE", value_parser = pem, verbatim_doc_comment)]
    pub(crate) upstream_ca: Vec<Pem>,

    /// Accept any certificate of wss:// upstreams; for tests only
    #[arg(long, conflicts_with = "upstream_ca")]
    pub(crate) upstream_insecure: bool,
}

/// Certificates as text, known to be readable.
#[derive(Clone, Debug)]
pub(crate) struct Pem(Vec<u8>);

impl TlsArgs {
    fn tls(&self) -> Result<Tls, InvalidTls> {
        let mut builder = Tls::builder();
        for Pem(text) in &self.upstream_ca {
            builder = builder.root_certificates(text)?;
        }
        if self.upstream_insecure {
            tracing::warn!("certificates of upstreams are not checked");
            builder = builder.danger_accept_any_certificate();
        }
        builder.build()
    }
}

/// Sets up TLS if one of the upstreams wants it.
///
/// # Errors
///
/// When there is nothing to check their certificates against.
pub(crate) fn secure(
    proxy: ProxyLayer,
    args: &Args,
    upstreams: &[Upstream],
) -> Result<ProxyLayer, Box<dyn Error>> {
    let is_tls = |upstream: &Upstream| matches!(upstream.address(), Address::Tls { .. });
    match upstreams.iter().any(is_tls) {
        true => Ok(proxy.tls(args.tls.tls()?)),
        false => Ok(proxy),
    }
}

fn pem(path: &str) -> Result<Pem, String> {
    let text = fs::read(path).map_err(|error| format!("the file cannot be read: {error}"))?;
    match Tls::builder().root_certificates(&text) {
        Ok(_) => Ok(Pem(text)),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests;

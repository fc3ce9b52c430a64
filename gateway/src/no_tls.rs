//! What stands in for TLS to upstreams where no cryptography is built in.

use std::error::Error;

use wsplice::connect::Address;
use wsplice::{ProxyLayer, Upstream};

use crate::args::Args;

/// Refuses upstreams that want TLS.
///
/// # Errors
///
/// One of them does.
pub(crate) fn secure(
    proxy: ProxyLayer,
    _args: &Args,
    upstreams: &[Upstream],
) -> Result<ProxyLayer, Box<dyn Error>> {
    let is_tls = |upstream: &Upstream| matches!(upstream.address(), Address::Tls { .. });
    match upstreams.iter().any(is_tls) {
        true => Err("TLS to upstreams needs the feature \"ring\" or \"aws-lc-rs\"".into()),
        false => Ok(proxy),
    }
}

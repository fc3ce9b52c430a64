//! The application: the proxy takes the handshakes on its routes, the site the other requests.

use std::error::Error;

use wsplice::{Drain, Pool, Upstream};
use wsplice_prometheus::Metrics;

use crate::args::Args;
use crate::connection::Serving;
use crate::proxy;
use crate::site::site;

/// Creates the application, and the handle that drains its WebSockets. `upstreams` are those that
/// were given, not discovered. The metrics, if they are to be served, get those of the pool `main`.
///
/// # Errors
///
/// An upstream wants TLS, and TLS cannot be configured.
pub(crate) fn app(
    args: &Args,
    upstreams: &[Upstream],
    pool: Pool,
    metrics: Option<&Metrics>,
) -> Result<(Serving, Drain), Box<dyn Error>> {
    for upstream in upstreams {
        tracing::info!(upstream = upstream.name(), routes = ?args.requests.route, "proxying");
    }
    let mut proxy = proxy::layer(args, upstreams, pool)?;
    if let Some(metrics) = metrics {
        proxy = metrics.observe(proxy);
    }
    let (timeout, spread) = (args.shutdown.drain_timeout, args.shutdown.drain_spread);
    let drain = proxy
        .drain()
        .spread(spread.min(timeout / 2))
        .deadline(timeout);
    let registry = proxy.registry();
    let site = site(args.requests.static_dir.as_deref());
    let serving = Serving {
        app: site.layer(proxy),
        registry,
        header_timeout: args.listen.header_timeout,
    };
    Ok((serving, drain))
}

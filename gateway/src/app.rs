//! The application: the proxy takes the handshakes on its routes, the site the other requests.

use wsplice::{Drain, ForwardHttp, ProxyLayer};

use crate::args::Args;
use crate::connection::Serving;
use crate::site::site;

/// Creates the application around the proxy, and the handle that drains its WebSockets.
pub(crate) fn app(args: &Args, proxy: ProxyLayer<ForwardHttp>) -> (Serving, Drain) {
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
    (serving, drain)
}

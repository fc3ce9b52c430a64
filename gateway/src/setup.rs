//! The gateway's application, by the options: the proxy takes the handshakes on its routes, the site the
//! other requests, with the demo's own.

use std::sync::Arc;

use tower::Layer;
use wsplice::{Drain, ForwardHttp, ProxyLayer};

use crate::app::App;
use crate::args::Args;
use crate::connection::Serving;
use crate::demo;
use crate::demo_upstream::DemoUpstream;
use crate::site::site;

/// Creates the application around the proxy, with the page of a demo upstream, and the handle that
/// drains its WebSockets.
pub(crate) fn serving(
    args: &Args,
    proxy: &ProxyLayer<ForwardHttp>,
    demo: Option<&Arc<DemoUpstream>>,
) -> (Serving, Drain) {
    let (timeout, spread) = (args.shutdown.drain_timeout, args.shutdown.drain_spread);
    let drain = proxy
        .drain()
        .spread(spread.min(timeout / 2))
        .deadline(timeout);
    let mut site = site(args.requests.static_dir.as_deref());
    if let Some(demo) = demo {
        site = site.merge(demo::routes(Arc::clone(demo), proxy.registry()));
    }
    let app = App::Proxy(proxy.layer(site));
    let mut serving = Serving::new(app, args.listen.header_timeout);
    // Nothing else passes them on.
    serving.wants_local_addresses = args.upstreams.connect.proxy_protocol.is_some();
    (serving, drain)
}

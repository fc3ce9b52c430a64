//! The application: the proxy takes the handshakes on its routes, the site the other requests, with the
//! demo's own.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tower::{Layer, Service};
use wsplice::{Drain, ForwardHttp, ProxyLayer, proxy::Proxy};

use crate::args::Args;
use crate::connection::Serving;
use crate::demo;
use crate::demo_upstream::DemoUpstream;
use crate::site::site;

/// Application of a listener.
#[derive(Clone, Debug)]
pub(crate) enum App {
    /// The proxy, and the site for requests that are not proxied.
    Proxy(Proxy<Router, ForwardHttp>),
    /// An application without upstreams, for operators.
    Router(Router),
}

impl App {
    /// Responds to a request. Routers are always ready, and the proxy is when its router is.
    pub(crate) fn respond(
        self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Body>> + use<> {
        let responding = match self {
            Self::Proxy(mut proxy) => Responding::Proxy(proxy.call(request)),
            Self::Router(mut router) => Responding::Router(router.call(request)),
        };
        async {
            let result = match responding {
                Responding::Proxy(proxy) => {
                    let response = proxy.await;
                    response.map(|response| response.map(Body::new))
                }
                Responding::Router(router) => router.await,
            };
            let Ok(response) = result;
            response
        }
    }
}

/// Response of an application that is under way.
enum Responding<P, R> {
    Proxy(P),
    Router(R),
}

/// Creates the application around the proxy, with the page of a demo upstream, and the handle that
/// drains its WebSockets.
pub(crate) fn app(
    args: &Args,
    proxy: &ProxyLayer<ForwardHttp>,
    demo: Option<&Arc<DemoUpstream>>,
) -> (Serving, Drain) {
    let (timeout, spread) = (args.shutdown.drain_timeout, args.shutdown.drain_spread);
    let drain = proxy
        .drain()
        .spread(spread.min(timeout / 2))
        .deadline(timeout);
    let registry = proxy.registry();
    let mut site = site(args.requests.static_dir.as_deref());
    if let Some(demo) = demo {
        site = site.merge(demo::routes(Arc::clone(demo), registry.clone()));
    }
    let app = App::Proxy(proxy.layer(site));
    let serving = Serving::new(app, registry, args.listen.header_timeout);
    (serving, drain)
}

//! The application of a listener.

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tower::Service;
use wsplice::{ForwardHttp, proxy::Proxy};

/// Application of a listener: it responds to every request.
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

//! Settings of the layer by which the host decides on requests: authorization, limits by key, and
//! what several layers share.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    error::BoxError,
    lock::lock,
    proxy::authorization_request::{AuthorizationRequest, Deciding},
    proxy::guard::{Admit, decide},
    proxy::key_limit::KeyLimit,
    proxy::options::RequestOptions,
    proxy::rejection::Rejection,
    tunnel::registry::Registry,
};

use super::proxy_layer::ProxyLayer;

impl<T> ProxyLayer<T> {
    /// Sets the function of the host that decides on each request of the layer: it admits the
    /// request, perhaps with [options](RequestOptions), or rejects it with a response of its own.
    ///
    /// The function is called for handshakes and [forwarded](crate::ForwardHttp) requests alike, once
    /// each, after the layer has found them to be its own and valid, and before an upstream is
    /// picked. It sees the request as matchers do, so no spelling of a path leads past it, and it may
    /// wait, for a database or another service. Each call replaces the function before.
    ///
    /// | | |
    /// |---|---|
    /// | a rejection | is the client's response; a status that would accept the handshake becomes 403; observers get [`ErrorKind::NotAuthorized`](crate::ErrorKind::NotAuthorized) |
    /// | more than the [authorization timeout](Self::authorization_timeout) | 503 with `Retry-After`: no upstream is to blame, and later it may go better |
    /// | a panic | 500 |
    /// | the client leaves | the future is dropped, if the server drops the response's |
    ///
    /// # Examples
    ///
    /// ```
    /// use http::StatusCode;
    /// use wsplice::{AuthorizationRequest, Pool, ProxyLayer, Rejection, RequestOptions};
    ///
    /// # struct Session { user: String, expires: std::time::SystemTime }
    /// # async fn find_session(_: &str) -> Option<Session> { None }
    /// # let pool = Pool::new(["ws://127.0.0.1:9"])?;
    /// let proxy = ProxyLayer::new(pool).authorize(|request: AuthorizationRequest| async move {
    ///     let id = request.cookie("session").ok_or(StatusCode::UNAUTHORIZED)?;
    ///     let session = find_session(id).await.ok_or(StatusCode::UNAUTHORIZED)?;
    ///     let options = RequestOptions::new().key(session.user).deadline(session.expires);
    ///     Ok::<_, Rejection>(options)
    /// });
    /// # let _ = proxy;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn authorize<F, Fut, O, R>(self, function: F) -> Self
    where
        F: Fn(AuthorizationRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, R>> + Send + 'static,
        O: Into<RequestOptions>,
        R: Into<Rejection>,
    {
        let function = Arc::new(move |request| -> Deciding {
            let deciding = function(request);
            Box::pin(async move { deciding.await.map(Into::into).map_err(Into::into) })
        });
        self.with(|settings| settings.authorize = Some(function))
    }

    /// Sets a tower layer that decides on each request, in place of a function for
    /// [`authorize`](Self::authorize): middleware for authentication that exists already.
    ///
    /// The layer gets the head of each request of the proxy, with the default body of type `Q`, around
    /// the service [`Admit`]. For middleware that takes any body, name one:
    /// `guard::<_, http_body_util::Empty<bytes::Bytes>, _>(layer)`. A request that reaches that
    /// service is admitted, with the [`RequestOptions`] and
    /// [`UpstreamHeaders`](crate::headers::UpstreamHeaders) in its extensions, and the upstream gets
    /// the headers that the layer has added or changed. Headers that the layer removes still reach the
    /// upstream, unless [`request_headers`](Self::request_headers) removes them. Otherwise the layer's
    /// response is the client's. Time, panics and clients that leave are handled as for a function; an
    /// error of the layer is a 500.
    ///
    /// The layer does not see the upstream's response, so layers that measure or change responses
    /// belong around the proxy. Most middleware compares paths by their text, which has [many
    /// spellings](AuthorizationRequest): let it check credentials, and paths in a function.
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::{extract::Request, middleware::{Next, from_fn}, response::Response};
    /// use http::StatusCode;
    /// use wsplice::{Pool, ProxyLayer};
    ///
    /// async fn authenticate(request: Request, next: Next) -> Result<Response, StatusCode> {
    ///     match request.headers().contains_key("authorization") {
    ///         true => Ok(next.run(request).await),
    ///         false => Err(StatusCode::UNAUTHORIZED),
    ///     }
    /// }
    ///
    /// # let pool = Pool::new(["ws://127.0.0.1:9"])?;
    /// let proxy = ProxyLayer::new(pool).guard(from_fn(authenticate));
    /// # let _ = proxy;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn guard<L, Q, B>(self, layer: L) -> Self
    where
        L: Layer<Admit>,
        L::Service: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
        <L::Service as Service<Request<Q>>>::Future: Send,
        <L::Service as Service<Request<Q>>>::Error: Into<BoxError>,
        Q: Default + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let service = Mutex::new(layer.layer(Admit));
        self.authorize(move |request| decide::<_, Q, _>(lock(&service).clone(), request))
    }

    /// Sets how long the function of [`authorize`](Self::authorize) may take.
    pub fn authorization_timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.timeouts.authorization = timeout)
    }

    /// Adds a limit on the tunnels and handshakes of each key; see [`KeyLimit`].
    ///
    /// Limits by address and by head are checked before the [authorization](Self::authorize), which
    /// they protect, and limits by the key of the request's options after it.
    pub fn limit_by_key(self, limit: KeyLimit) -> Self {
        self.with(|settings| settings.key_limits.push(limit))
    }

    /// Lists the layer's tunnels in this registry, in place of one of its own, so that several layers
    /// are one to an operator: one list, one drain. What each of them carries is in its
    /// [`tunnels`](Self::tunnels).
    ///
    /// Handles that [`registry`](Self::registry), [`tunnels`](Self::tunnels) and [`drain`](Self::drain)
    /// returned before are those of the former registry.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Drain, Pool, ProxyLayer, Registry, matcher::path};
    ///
    /// # let (chat, feed) = (Pool::new(["ws://127.0.0.1:9"])?, Pool::new(["ws://127.0.0.1:9"])?);
    /// let registry = Registry::new();
    /// let chat = ProxyLayer::new(chat).matching(path("/chat/*")).with_registry(&registry);
    /// let feed = ProxyLayer::new(feed).matching(path("/feed")).with_registry(&registry);
    /// let drain = Drain::new(&registry);
    /// # let _ = (chat, feed, drain);
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn with_registry(self, registry: &Registry) -> Self {
        self.with(|settings| {
            settings.registry = registry.clone();
            settings.tunnels = registry.add_layer();
        })
    }
}

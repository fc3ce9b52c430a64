//! The service: proxies owned requests, and passes the others to the inner service.

use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    error::{BoxError, Error},
    http::head::RequestHead,
    http::headers::without_nominated,
    http::matcher::owns,
    http::upgrade::{Intent, inspect_with},
    task::catch_panic,
};

use super::{
    body::ResponseBody,
    client::Client,
    event_reporter::Subject,
    forward::forward,
    future::ResponseFuture,
    handshake::handshake,
    mounted::{self, Mounted},
    pipeline::{fail, panicked},
    request_scope::{IntoClientRequest, RequestScope, WebSocketsOnly},
    settings::{Forward, Settings},
};

/// Service that [`ProxyLayer`](crate::ProxyLayer) wraps around an inner one.
///
/// A WebSocket opening handshake that the layer's matcher owns is proxied; with
/// [`ForwardHttp`](crate::ForwardHttp) other owned requests are forwarded. All other requests reach
/// the inner service unchanged.
pub struct Proxy<S, T = WebSocketsOnly> {
    inner: S,
    settings: Arc<Settings>,
    scope: PhantomData<fn() -> T>,
}

/// Destination of a request.
enum Route {
    Inner,
    Handshake(Intent, Client),
    /// Another request, which is forwarded.
    Forward(Forward, Client),
    /// Unknown, because a function of the host failed.
    Failed(Subject, Error),
}

impl<S, T> Proxy<S, T> {
    pub(super) const fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self {
            inner,
            settings,
            scope: PhantomData,
        }
    }

    /// Returns a reference to the inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// Returns where a request goes. One that is proxied loses the headers that its `Connection` names.
    fn route<B>(&self, request: &mut Request<B>) -> Route
    where
        T: IntoClientRequest<B>,
    {
        let head = RequestHead::from(&*request);
        let intent = inspect_with(&head, self.settings.leniency);
        let forward = match &self.settings.forward {
            // A plain `CONNECT` is never proxied.
            Some(forward) if T::FORWARDS_REQUESTS && request.method() != Method::CONNECT => {
                Some(forward)
            }
            _ => None,
        };
        if matches!(intent, Intent::Other) && forward.is_none() {
            return Route::Inner;
        }
        // Matchers decide on the headers that the upstream gets.
        let protected = &self.settings.outbound.protected;
        let nominated_removed = without_nominated(request.headers(), protected);
        let head = match &nominated_removed {
            Some(headers) => head.with_headers(headers),
            None => head,
        };
        let route = match (self.client_of_owned(request, head), intent, forward) {
            (Err(error), Intent::Other, _) => return Route::Failed(Subject::Request, error),
            (Err(error), ..) => return Route::Failed(Subject::Handshake, error),
            (Ok(None), ..) | (_, Intent::Other, None) => return Route::Inner,
            (Ok(Some(client)), Intent::Other, Some(forward)) => {
                Route::Forward(forward.clone(), client)
            }
            (Ok(Some(client)), intent, _) => Route::Handshake(intent, client),
        };
        if let Some(headers) = nominated_removed {
            *request.headers_mut() = headers;
        }
        route
    }

    /// Returns the client of a request that the matcher owns.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Panic`](crate::ErrorKind::Panic), from a matcher or from the function that
    /// describes the client.
    fn client_of_owned<B>(
        &self,
        request: &Request<B>,
        head: RequestHead<'_>,
    ) -> Result<Option<Client>, Error> {
        let decide = || {
            let client = Client::resolve(&self.settings, request.extensions(), request.headers());
            let head = client.complete(head);
            match &self.settings.matcher {
                Some(matcher) if !owns(matcher, &head) => {
                    mounted::log_hint(matcher, head);
                    None
                }
                _ => Some(client),
            }
        };
        catch_panic(decide).map_err(|panic| panicked(&*panic))
    }
}

impl<S: Clone, T> Clone for Proxy<S, T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            settings: Arc::clone(&self.settings),
            scope: PhantomData,
        }
    }
}

impl<S: fmt::Debug, T> fmt::Debug for Proxy<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("inner", &self.inner)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl<S, T, ReqBody, ResBody> Service<Request<ReqBody>> for Proxy<S, T>
where
    T: RequestScope<ReqBody>,
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let mounted = match self.settings.uses_original_uri {
            true => Mounted::restore_original(&mut request),
            false => Mounted::default(),
        };
        match self.route(&mut request) {
            Route::Inner => ResponseFuture::inner(self.inner.call(mounted.undo(request))),
            Route::Forward(with, client) => match T::into_client_request(request) {
                Ok(request) => {
                    let settings = Arc::clone(&self.settings);
                    ResponseFuture::pipeline(forward(settings, with, request, client))
                }
                Err(request) => ResponseFuture::inner(self.inner.call(mounted.undo(request))),
            },
            Route::Failed(subject, error) => {
                let (head, _body) = request.into_parts();
                let settings = Arc::clone(&self.settings);
                ResponseFuture::pipeline(fail(subject, head, settings, error))
            }
            Route::Handshake(intent, client) => {
                // The body is dropped here: it is empty, and the host's server hands the connection
                // over only after that.
                let (head, _body) = request.into_parts();
                let settings = Arc::clone(&self.settings);
                ResponseFuture::pipeline(handshake(settings, head, intent, client))
            }
        }
    }
}

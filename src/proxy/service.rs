//! The service: takes what is its own, leaves the rest.

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
    error::BoxError,
    http::head::RequestHead,
    http::headers::ClientInfo,
    http::matcher::owns,
    http::upgrade::{Intent, inspect},
};

use super::{
    body::ResponseBody,
    forward::forward,
    future::ResponseFuture,
    pipeline::{Taken, run},
    request_scope::{RequestScope, Take, WebSocketsOnly},
    settings::{Forward, Settings},
};

/// The service that [`ProxyLayer`](crate::ProxyLayer) makes around an inner one.
///
/// A WebSocket opening handshake that the layer's matcher owns is proxied, and with
/// [`ForwardHttp`](crate::ForwardHttp) every other request that it owns. Everything else goes to
/// the inner service as it came.
pub struct Proxy<S, T = WebSocketsOnly> {
    inner: S,
    settings: Arc<Settings>,
    takes: PhantomData<fn() -> T>,
}

/// Whose a request is.
enum Claim {
    Inner,
    Handshake(Intent, ClientInfo),
    /// Another request, which is forwarded.
    Request(Forward, ClientInfo),
}

impl<S, T> Proxy<S, T> {
    pub(super) const fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self {
            inner,
            settings,
            takes: PhantomData,
        }
    }

    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn claim<B>(&self, request: &Request<B>) -> Claim
    where
        T: Take<B>,
    {
        let head = RequestHead::from(request);
        let intent = inspect(&head);
        let forward = match &self.settings.forward {
            // A tunnel to anywhere is none of ours.
            Some(forward) if T::TAKES_REQUESTS && request.method() != Method::CONNECT => {
                Some(forward)
            }
            _ => None,
        };
        if matches!(intent, Intent::Other) && forward.is_none() {
            return Claim::Inner;
        }
        let client = self.settings.client_info(request.extensions());
        let client_ip = self
            .settings
            .outbound
            .forwarded
            .client_ip(request.headers(), &client);
        let head = match client_ip {
            Some(client_ip) => head.with_client_ip(client_ip),
            None => head,
        };
        let is_ours = self
            .settings
            .matcher
            .as_ref()
            .is_none_or(|matcher| owns(matcher, &head));
        match (intent, forward) {
            _ if !is_ours => Claim::Inner,
            (Intent::Other, Some(forward)) => Claim::Request(forward.clone(), client),
            (Intent::Other, None) => Claim::Inner,
            (intent, _) => Claim::Handshake(intent, client),
        }
    }
}

impl<S: Clone, T> Clone for Proxy<S, T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            settings: Arc::clone(&self.settings),
            takes: PhantomData,
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

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        match self.claim(&request) {
            Claim::Inner => ResponseFuture::inner(self.inner.call(request)),
            Claim::Request(with, client) => match T::take(request) {
                Ok(request) => {
                    let settings = Arc::clone(&self.settings);
                    ResponseFuture::pipeline(forward(settings, with, request, client))
                }
                Err(request) => ResponseFuture::inner(self.inner.call(request)),
            },
            Claim::Handshake(intent, client) => {
                // The body is dropped here: it is empty, and the host's server hands the
                // connection over only once it is done with.
                let (head, _body) = request.into_parts();
                let taken = Taken {
                    head,
                    intent,
                    client,
                };
                ResponseFuture::pipeline(run(Arc::clone(&self.settings), taken))
            }
        }
    }
}

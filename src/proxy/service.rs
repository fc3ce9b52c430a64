//! The service: takes what is its own, leaves the rest.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    error::BoxError,
    head::RequestHead,
    headers::ClientInfo,
    matcher::owns,
    upgrade::{Intent, inspect},
};

use super::{
    body::ResponseBody,
    future::ResponseFuture,
    pipeline::{Taken, run},
    settings::Settings,
};

/// The service that [`ProxyLayer`](crate::ProxyLayer) makes around an inner one.
///
/// A WebSocket opening handshake that the layer's matcher owns is proxied. Everything else goes to
/// the inner service as it came.
#[derive(Clone, Debug)]
pub struct Proxy<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> Proxy<S> {
    pub(super) const fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings }
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

    /// What is to be done with a request that is ours.
    fn claim<B>(&self, request: &Request<B>) -> Option<(Intent, ClientInfo)> {
        let head = RequestHead::from(request);
        let intent = inspect(&head);
        if matches!(intent, Intent::Other) {
            return None;
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
        is_ours.then_some((intent, client))
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Proxy<S>
where
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
            None => ResponseFuture::inner(self.inner.call(request)),
            Some((intent, client)) => {
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

//! Guard: a tower layer of the host that decides on requests, as the function of
//! [`ProxyLayer::authorize`](crate::ProxyLayer::authorize) does.
//!
//! The layer is put around a service that does nothing but admit. A request that reaches it is
//! admitted, with whatever the layer added to it; otherwise the layer's response is the rejection.

use std::{
    convert::Infallible,
    future::{Ready, poll_fn, ready},
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, request::Parts};
use http_body::Body;
use http_body_util::Empty;
use tower_service::Service;

use crate::{error::BoxError, escaped::Escaped, http::headers::UpstreamHeaders, lock::lock};

use super::{
    authorization_request::{AuthorizationRequest, Decision},
    options::RequestOptions,
    rejection::Rejection,
};

/// Service inside of a [guard](crate::ProxyLayer::guard): a request that reaches it is admitted.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Admit;

/// Place for the head of the request that was admitted. It travels in the request's extensions.
#[derive(Clone, Default)]
struct Admitted(Arc<Mutex<Option<Parts>>>);

impl<B> Service<Request<B>> for Admit {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, _body) = request.into_parts();
        if let Some(Admitted(place)) = head.extensions.remove() {
            *lock(&place) = Some(head);
        }
        ready(Ok(Response::new(Empty::new())))
    }
}

/// Lets the guard's service decide on a request.
pub(super) async fn decide<S, Q, B>(mut service: S, request: AuthorizationRequest) -> Decision
where
    S: Service<Request<Q>, Response = Response<B>>,
    Q: Default,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let failed = |error: S::Error| {
        let error: BoxError = error.into();
        tracing::error!(error = %Escaped(format_args!("{error:#}")), "the host's guard failed");
        Rejection::from(StatusCode::INTERNAL_SERVER_ERROR)
    };
    let admitted = Admitted::default();
    let mut asked = Request::from_parts(request.head_parts(), Q::default());
    asked.extensions_mut().insert(admitted.clone());
    poll_fn(|cx| service.poll_ready(cx)).await.map_err(failed)?;
    let response = service.call(asked).await.map_err(failed)?;
    let head = lock(&admitted.0).take();
    match head {
        Some(head) => Ok(options(request.headers(), head)),
        None => Err(response.into()),
    }
}

/// Returns the options of an admitted request: those that the layer put into its extensions, and the
/// headers that the layer changed.
fn options(before: &HeaderMap, mut head: Parts) -> RequestOptions {
    let mut headers = UpstreamHeaders::new();
    for name in head.headers.keys() {
        let (old, new) = (before.get_all(name), head.headers.get_all(name));
        if !old.iter().eq(new.iter()) {
            for value in new {
                headers.append(name.clone(), value.clone());
            }
        }
    }
    let options: RequestOptions = head.extensions.remove().unwrap_or_default();
    let given: UpstreamHeaders = head.extensions.remove().unwrap_or_default();
    options.headers(&headers).headers(&given)
}

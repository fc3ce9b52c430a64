//! The innermost service of a proxy without an inner service.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use tower_service::Service;

use crate::{
    http::head::{RequestHead, connect_protocol},
    http::relay::{adapt_version, set_supported_version},
    http::upgrade::{Intent, inspect},
};

/// Service that rejects every request: with 426 Upgrade Required (RFC 9110 §15.5.22) an ordinary
/// one, with 404 a handshake, which arrives here only if the proxy does not own it, and with 501 an
/// extended `CONNECT` for a protocol other than WebSocket (RFC 9220 §3).
///
/// [`ProxyLayer::into_service`](crate::ProxyLayer::into_service) uses this as the inner service.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct UpgradeRequired;

impl<B> Service<Request<B>> for UpgradeRequired {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let head = RequestHead::from(&request);
        let is_websocket = !matches!(inspect(&head), Intent::Other);
        if !is_websocket && connect_protocol(&head).is_some() {
            let text = Bytes::from_static(b"this protocol is not supported\n");
            let mut response = Response::new(Full::new(text));
            *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
            return ready(Ok(response));
        }
        if is_websocket {
            let mut response =
                Response::new(Full::new(Bytes::from_static(b"WebSocket not found\n")));
            *response.status_mut() = StatusCode::NOT_FOUND;
            return ready(Ok(response));
        }
        let text = Bytes::from_static(b"this path accepts WebSocket handshakes only\n");
        let mut response = Response::new(Full::new(text));
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        set_supported_version(headers);
        adapt_version(&mut response, request.version());
        ready(Ok(response))
    }
}

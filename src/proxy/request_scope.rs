//! The scope of a layer: WebSocket handshakes alone, or other requests too.

use bytes::Bytes;
use http::Request;
use http_body::Body;
use http_body_util::BodyExt;

use crate::{
    error::BoxError,
    http::forward::{ClientBody, ForwardHttp},
};

/// Scope of a new layer: WebSocket handshakes alone. Their bodies may be of any type, since none is
/// read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebSocketsOnly;

/// Scope of a layer, for requests with bodies of type `B`: [`WebSocketsOnly`], or [`ForwardHttp`]
/// for other HTTP requests too, whose bodies must then be `Send`.
///
/// This trait is sealed.
pub trait RequestScope<B>: sealed::IntoClientRequest<B> {}

impl<B> RequestScope<B> for WebSocketsOnly {}

impl<B> RequestScope<B> for ForwardHttp
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
}

pub(super) use sealed::IntoClientRequest;

mod sealed {
    use super::{Body, BodyExt, BoxError, Bytes, ClientBody, ForwardHttp, Request, WebSocketsOnly};

    pub trait IntoClientRequest<B> {
        /// Whether ordinary requests may be forwarded.
        const FORWARDS_REQUESTS: bool;

        /// Converts an ordinary request for forwarding, or returns it.
        #[allow(clippy::result_large_err)] // the result is used at once
        fn into_client_request(request: Request<B>) -> Result<Request<ClientBody>, Request<B>>;
    }

    impl<B> IntoClientRequest<B> for WebSocketsOnly {
        const FORWARDS_REQUESTS: bool = false;

        fn into_client_request(request: Request<B>) -> Result<Request<ClientBody>, Request<B>> {
            Err(request)
        }
    }

    impl<B> IntoClientRequest<B> for ForwardHttp
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        const FORWARDS_REQUESTS: bool = true;

        fn into_client_request(request: Request<B>) -> Result<Request<ClientBody>, Request<B>> {
            Ok(request.map(|body| body.map_err(Into::into).boxed_unsync()))
        }
    }
}

//! What a layer takes besides WebSocket handshakes.

use bytes::Bytes;
use http::Request;
use http_body::Body;
use http_body_util::BodyExt;

use crate::{
    error::BoxError,
    http::forward::{ClientBody, ForwardHttp},
};

/// Nothing: a layer as it is made. Requests may have bodies of any type, since none is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebSocketsOnly;

/// What a layer takes, of requests with bodies of type `B`: [`WebSocketsOnly`], or with
/// [`ForwardHttp`] other HTTP requests too, whose bodies must then be such as can be sent on.
///
/// There are no others.
pub trait RequestScope<B>: sealed::Take<B> {}

impl<B> RequestScope<B> for WebSocketsOnly {}

impl<B> RequestScope<B> for ForwardHttp
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
}

pub(super) use sealed::Take;

mod sealed {
    use super::{Body, BodyExt, BoxError, Bytes, ClientBody, ForwardHttp, Request, WebSocketsOnly};

    pub trait Take<B> {
        /// Whether ordinary requests may be taken at all.
        const TAKES_REQUESTS: bool;

        /// Takes an ordinary request, or gives it back.
        #[allow(clippy::result_large_err)] // it goes on at once
        fn take(request: Request<B>) -> Result<Request<ClientBody>, Request<B>>;
    }

    impl<B> Take<B> for WebSocketsOnly {
        const TAKES_REQUESTS: bool = false;

        fn take(request: Request<B>) -> Result<Request<ClientBody>, Request<B>> {
            Err(request)
        }
    }

    impl<B> Take<B> for ForwardHttp
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        const TAKES_REQUESTS: bool = true;

        fn take(request: Request<B>) -> Result<Request<ClientBody>, Request<B>> {
            Ok(request.map(|body| body.map_err(Into::into).boxed_unsync()))
        }
    }
}

//! The host's own response to a request that it rejects.

use std::{convert::Infallible, fmt};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Body;
use http_body_util::Full;

use crate::{
    error::BoxError,
    http::relay::{HostBody, RelayedBody},
};

/// Response of the host to a request that it [rejects](crate::ProxyLayer::authorize).
///
/// Any response can be converted into a rejection, and a status alone, so that `?` works in the
/// function.
///
/// # Examples
///
/// ```
/// use http::{Response, StatusCode};
/// use wsplice::Rejection;
///
/// let short = Rejection::from(StatusCode::UNAUTHORIZED);
/// let mut response = Response::new(http_body_util::Full::from("who are you?\n"));
/// *response.status_mut() = StatusCode::UNAUTHORIZED;
/// let long = Rejection::from(response);
/// # let _ = (short, long);
/// ```
#[must_use]
pub struct Rejection {
    response: Response<HostBody>,
}

impl Rejection {
    /// Creates a response of this status and text.
    pub fn new(status: StatusCode, text: impl Into<Bytes>) -> Self {
        let mut response = Response::new(Full::new(text.into()));
        *response.status_mut() = status;
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, plain);
        Self::from(response)
    }

    /// Returns the status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn into_response(self) -> Response<RelayedBody> {
        self.response.map(RelayedBody::of_host)
    }
}

/// For functions that admit every request.
impl From<Infallible> for Rejection {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl<B> From<Response<B>> for Rejection
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn from(response: Response<B>) -> Self {
        Self {
            response: response.map(HostBody::new),
        }
    }
}

/// A response of this status, with the name of the status as its text.
impl From<StatusCode> for Rejection {
    fn from(status: StatusCode) -> Self {
        let name = status.canonical_reason().unwrap_or("rejected");
        Self::new(status, format!("{}\n", name.to_lowercase()))
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

//! The exchange in the connection's version of HTTP.

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;

use crate::{
    error::Error,
    http::relay::HeadLimits,
    net::connect::{Dialer, UpstreamConnection},
};

use super::{exchange as http1, http2, upstream_response::UpgradeResponse};

/// Sends the request, which has the form of HTTP/1.1, and waits for the final response.
///
/// # Errors
///
/// Returns [`ErrorKind::NoResponse`](crate::ErrorKind::NoResponse) if the connection ends before a
/// byte of a response, and [`ErrorKind::Handshake`](crate::ErrorKind::Handshake) if it breaks later
/// or the response is not HTTP; over HTTP/2 also the error of a new connection, if one was needed.
pub(crate) async fn exchange(
    connection: UpstreamConnection,
    dialer: &Dialer,
    request: Request<Empty<Bytes>>,
    limits: HeadLimits,
) -> Result<UpgradeResponse, Error> {
    match connection {
        UpstreamConnection::Own(transport) => http1::exchange(transport, request, limits).await,
        // Boxed, because it is large, and handshakes over HTTP/1.1 would carry it.
        UpstreamConnection::Shared(slot) => {
            Box::pin(http2::exchange(slot, dialer, &request, limits)).await
        }
    }
}

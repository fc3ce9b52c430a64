//! The exchange in the connection's version of HTTP.

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;

use crate::{
    error::Error,
    http::relay::HeadLimits,
    net::connect::{Dialer, UpstreamConnection},
};

use super::{
    agreement::Offer, encode::EncodedRequest, exchange as http1, http2,
    upstream_request::UpstreamRequest, upstream_response::UpgradeResponse,
};

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
        UpstreamConnection::Own(transport) => {
            http1::exchange(transport, EncodedRequest::from(&request), limits).await
        }
        // Boxed, because it is large, and handshakes over HTTP/1.1 would carry it.
        UpstreamConnection::Shared(slot) => {
            Box::pin(http2::exchange(slot, dialer, &request, limits)).await
        }
    }
}

/// Sends a client's handshake, and waits for the final response; returns with it what was offered.
///
/// # Errors
///
/// Returns the errors of [`exchange`].
pub(crate) async fn handshake(
    connection: UpstreamConnection,
    dialer: &Dialer,
    handshake: UpstreamRequest<'_>,
    limits: HeadLimits,
) -> Result<(UpgradeResponse, Offer), Error> {
    match connection {
        UpstreamConnection::Own(transport) => {
            let (request, offer) = handshake.encode();
            let response = http1::exchange(transport, request, limits).await?;
            Ok((response, offer))
        }
        // Boxed, because it is large, and handshakes over HTTP/1.1 would carry it.
        UpstreamConnection::Shared(slot) => {
            Box::pin(async {
                let request = handshake.build();
                let offer = Offer::new(request.headers(), handshake.upgrade);
                let response = http2::exchange(slot, dialer, &request, limits).await?;
                Ok((response, offer))
            })
            .await
        }
    }
}

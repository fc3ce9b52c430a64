//! The exchange in the connection's version of HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;

use crate::{
    error::Error,
    net::connect::{Dialer, UpstreamConnection},
};

use super::{
    exchange as http1, head_limits::HeadLimits, http2, upstream_response::UpgradeResponse,
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
    body_timeout: Duration,
) -> Result<UpgradeResponse, Error> {
    match connection {
        UpstreamConnection::Own(transport) => {
            http1::exchange(transport, request, limits, body_timeout).await
        }
        UpstreamConnection::Shared(slot) => {
            http2::exchange(slot, dialer, &request, limits, body_timeout).await
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::net::transport::Transport;

    #[tokio::test]
    async fn trailers_of_a_refusal_lose_headers_of_the_head_rfc9110_6_5_1() {
        let (near, mut far) = duplex(1024);
        let refusal = b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n\
            2\r\nno\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nConnection: x\r\n\r\n";
        let upstream = async {
            assert!(far.read(&mut [0; 1024]).await.unwrap() > 0);
            far.write_all(refusal).await.unwrap();
        };
        let request = Request::new(Empty::new());
        let limits = HeadLimits::default();
        let connection = UpstreamConnection::Own(Transport::new(near));
        let dialer = Dialer::default();
        let exchange = exchange(connection, &dialer, request, limits, Duration::from_secs(9));
        let (response, ()) = tokio::join!(exchange, upstream);
        let Ok(UpgradeResponse::Refused(response)) = response else {
            panic!("a 403 agrees to nothing")
        };
        let body = response.into_body().collect().await.unwrap();
        let mut expected = HeaderMap::new();
        expected.insert("x-sum", "1".parse().unwrap());
        assert_eq!(body.trailers(), Some(&expected));
    }
}

//! The exchange in either version of HTTP, and the upstream's response.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Empty;

use crate::{
    error::{BoxError, Error},
    net::connect::{Dialer, UpstreamConnection},
    net::transport::Transport,
};

use super::{
    exchange::{self, HeadLimits},
    http2,
    inbound::sanitize_trailers,
    refusal,
};

/// The upstream's final response to a handshake.
pub(crate) enum UpgradeResponse {
    /// An acceptance that is not verified yet (101, or any 2xx over HTTP/2), with the byte stream
    /// and the bytes read after the head.
    Accepted {
        head: response::Parts,
        transport: Transport,
        read_ahead: Bytes,
    },
    /// Any other response.
    Refused(Response<RefusalBody>),
}

/// Body of a refusal, with its connection or stream.
pub(crate) enum RefusalBody {
    Own(refusal::Http1RefusalBody),
    #[cfg_attr(not(feature = "http2"), allow(dead_code))]
    Shared(http2::Http2RefusalBody),
}

/// Sends the request, which has the form of HTTP/1.1, and waits for the final response.
///
/// # Errors
///
/// Returns [`ErrorKind::Handshake`](crate::ErrorKind::Handshake) if the connection breaks or the
/// response is not HTTP; over HTTP/2 also the error of a new connection, if one was needed.
pub(crate) async fn exchange(
    connection: UpstreamConnection,
    dialer: &Dialer,
    request: Request<Empty<Bytes>>,
    limits: HeadLimits,
    body_timeout: Duration,
) -> Result<UpgradeResponse, Error> {
    match connection {
        UpstreamConnection::Own(transport) => {
            exchange::exchange(transport, request, limits, body_timeout).await
        }
        UpstreamConnection::Shared(slot) => {
            http2::exchange(slot, dialer, &request, limits, body_timeout).await
        }
    }
}

impl Body for RefusalBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match self.get_mut() {
            Self::Own(body) => Pin::new(body).poll_frame(cx),
            Self::Shared(body) => Pin::new(body).poll_frame(cx),
        };
        frame.map_ok(sanitize_trailers)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Shared(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Shared(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

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

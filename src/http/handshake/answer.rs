//! The exchange in whichever version of HTTP, and what comes of it.

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
    inbound::passed,
    refusal,
};

/// The upstream's final answer.
pub(crate) enum Answer {
    /// A yes that is not verified yet (101, or any 2xx over HTTP/2), with the byte stream and what
    /// was read behind the head.
    Agreed {
        head: response::Parts,
        transport: Transport,
        read_ahead: Bytes,
    },
    /// Anything else.
    Refusal(Response<RefusalBody>),
}

/// The body of an answer that opens no tunnel, with what it comes from.
pub(crate) enum RefusalBody {
    Own(refusal::RefusalBody),
    #[cfg_attr(not(feature = "http2"), allow(dead_code))]
    Shared(http2::Body),
}

/// Sends the request, which is written for HTTP/1.1, and waits for the final answer.
///
/// # Errors
///
/// [`ErrorKind::Handshake`](crate::ErrorKind::Handshake) when the connection breaks or what comes
/// is not HTTP; over HTTP/2 what `dial` may give, when it had to be tried again.
pub(crate) async fn exchange(
    link: UpstreamConnection,
    dial: &Dialer,
    request: Request<Empty<Bytes>>,
    limits: HeadLimits,
    body_timeout: Duration,
) -> Result<Answer, Error> {
    match link {
        UpstreamConnection::Own(transport) => {
            exchange::exchange(transport, request, limits, body_timeout).await
        }
        UpstreamConnection::Shared(place) => {
            http2::exchange(place, dial, &request, limits, body_timeout).await
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
        frame.map_ok(passed)
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
    async fn trailers_of_a_refusal_say_nothing_that_belongs_ahead_of_it_rfc9110_6_5_1() {
        let (near, mut far) = duplex(1024);
        let refusal = b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n\
            2\r\nno\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nConnection: x\r\n\r\n";
        let upstream = async {
            assert!(far.read(&mut [0; 1024]).await.unwrap() > 0);
            far.write_all(refusal).await.unwrap();
        };
        let request = Request::new(Empty::new());
        let limits = HeadLimits::default();
        let link = UpstreamConnection::Own(Transport::new(near));
        let dial = Dialer::default();
        let asked = exchange(link, &dial, request, limits, Duration::from_secs(9));
        let (answer, ()) = tokio::join!(asked, upstream);
        let Ok(Answer::Refusal(response)) = answer else {
            panic!("a 403 agrees to nothing")
        };
        let body = response.into_body().collect().await.unwrap();
        let mut expected = HeaderMap::new();
        expected.insert("x-sum", "1".parse().unwrap());
        assert_eq!(body.trailers(), Some(&expected));
    }
}

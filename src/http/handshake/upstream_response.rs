//! The final response of an upstream to a handshake.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Response, response};
use http_body::{Body, Frame, SizeHint};

use crate::{error::BoxError, net::transport::Transport};

use super::{client_response::sanitize_trailers, http2, refusal};

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

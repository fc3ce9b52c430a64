//! The body of a refusal that came over HTTP/2.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Frame, SizeHint};

use crate::{error::BoxError, http::handshake::silence::Silence, net::connect::StreamGuard};

/// What follows the head of an answer, up to its trailers.
///
/// Dropping it resets the stream, unless that is over. The connection goes on.
pub(crate) struct Body {
    receiving: RecvStream,
    silence: Silence,
    _occupied: StreamGuard,
}

impl Body {
    pub(super) fn new(receiving: RecvStream, timeout: Duration, occupied: StreamGuard) -> Self {
        Self {
            receiving,
            silence: Silence::new(timeout),
            _occupied: occupied,
        }
    }

    /// The data, and the trailers behind them.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match ready!(self.receiving.poll_data(cx)) {
            Some(Ok(data)) => {
                // It fails on a stream that is over, whose last bytes are no worse for it.
                let _ = self.receiving.flow_control().release_capacity(data.len());
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => self
                .receiving
                .poll_trailers(cx)
                .map(|trailers| trailers.map(|some| some.map(Frame::trailers)).transpose()),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = self.poll_next(cx);
        self.silence.poll(cx, polled)
    }

    fn is_end_stream(&self) -> bool {
        self.receiving.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

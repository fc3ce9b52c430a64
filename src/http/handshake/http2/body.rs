//! Body of a refusal received over HTTP/2.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Frame, SizeHint};

use crate::{
    error::{Error, ErrorKind},
    net::connect::StreamGuard,
};

/// Body of a response on an HTTP/2 stream, with its trailers.
///
/// Dropping it before its end resets the stream. The connection stays open.
pub(crate) struct Http2RefusalBody {
    stream: RecvStream,
    _guard: StreamGuard,
}

impl Http2RefusalBody {
    pub(super) const fn new(stream: RecvStream, guard: StreamGuard) -> Self {
        Self {
            stream,
            _guard: guard,
        }
    }

    /// Polls for data, and then for the trailers.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(data)) => {
                // This fails on a stream that has ended, whose last bytes are valid nevertheless.
                let _ = self.stream.flow_control().release_capacity(data.len());
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => self
                .stream
                .poll_trailers(cx)
                .map(|result| result.map(|some| some.map(Frame::trailers)).transpose()),
        }
    }
}

impl http_body::Body for Http2RefusalBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let failed = |error| Error::with_source(ErrorKind::ResponseBody, error);
        self.poll_next(cx)
            .map(|frame| frame.map(|frame| frame.map_err(failed)))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

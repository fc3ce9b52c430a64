//! The body of a response over HTTP/2 where that is not compiled in.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Frame;

use crate::error::BoxError;

/// The body of an answer that nobody gives.
pub(crate) enum Http2RefusalBody {}

impl http_body::Body for Http2RefusalBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match *self {}
    }
}

//! Placeholder for the body of a response in builds without HTTP/2.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Frame;

use crate::error::BoxError;

/// Body of a response over HTTP/2, which cannot exist in this build.
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

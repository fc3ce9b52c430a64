//! The body of an upstream's response.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::error::{Error, ErrorKind};

use super::upload::UploadProgress;

/// Body of an upstream's response. Its error is the client's, if the client failed to send the rest
/// of its request.
pub(crate) struct DownloadBody {
    pub(crate) body: Incoming,
    pub(crate) upload: Arc<UploadProgress>,
}

impl Body for DownloadBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let failed = |error| {
            let client = self.upload.failure();
            client.unwrap_or_else(|| Error::with_source(ErrorKind::ResponseBody, error))
        };
        frame.map(|frame| frame.map(|frame| frame.map_err(failed)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! Body of an upstream's refusal over HTTP/1.1.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn::http1::Connection};
use hyper_util::rt::TokioIo;

use crate::error::{Error, ErrorKind};

use super::replay::Replay;

/// A connection to an upstream, driven by hyper.
pub(super) type HyperConnection = Connection<TokioIo<Replay>, Empty<Bytes>>;

/// Body of a response other than 101, with its connection.
///
/// Dropping it closes the connection: after a refused upgrade the upstream may not expect another
/// request.
pub(crate) struct Http1RefusalBody {
    connection: Box<HyperConnection>,
    connection_is_done: bool,
    body: Incoming,
}

impl Http1RefusalBody {
    pub(super) fn new(connection: HyperConnection, body: Incoming) -> Self {
        Self {
            connection: Box::new(connection),
            connection_is_done: false,
            body,
        }
    }
}

impl Body for Http1RefusalBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if !this.connection_is_done {
            this.connection_is_done = this.connection.poll_without_shutdown(cx).is_ready();
        }
        let failed = |error| Error::with_source(ErrorKind::ResponseBody, error);
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        frame.map(|frame| frame.map(|frame| frame.map_err(failed)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

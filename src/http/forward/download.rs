//! The answer's body on its way down.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use crate::{
    error::{Error, ErrorKind},
    http::handshake::passed,
    net::connect::Address,
};

use super::{
    answer::kept_for, connection::Connection, connections::Connections, settings::ForwardHttp,
    upload::Upload,
};

/// The body of an upstream's answer, with the connection that it comes from.
///
/// Dropping it before its end closes the connection.
pub(crate) struct Download {
    body: Incoming,
    idle_timeout: Option<Duration>,
    /// Runs while the upstream is silent.
    silence: Option<Pin<Box<Sleep>>>,
    connection: Option<Connection>,
    back: Option<WayBack>,
    kept_for: Option<Duration>,
}

/// Where a connection goes when its exchange is over.
pub(crate) struct WayBack {
    pub(crate) connections: Arc<Connections>,
    pub(crate) address: Address,
    /// The request's body must have gone up whole.
    pub(crate) upload: Arc<Upload>,
    pub(crate) settings: ForwardHttp,
}

impl Download {
    /// The body of the answer with these headers. Without a way back the connection is closed at
    /// its end.
    pub(crate) fn new(
        body: Incoming,
        headers: &HeaderMap,
        connection: Connection,
        back: Option<WayBack>,
        settings: &ForwardHttp,
    ) -> Self {
        Self {
            body,
            idle_timeout: settings.response_idle_timeout,
            silence: None,
            connection: Some(connection),
            back,
            kept_for: kept_for(headers),
        }
    }

    /// The connection is free; if all of the request was sent, for others too.
    fn finish(&mut self) {
        let (Some(connection), Some(back)) = (self.connection.take(), self.back.take()) else {
            return;
        };
        if back.upload.is_done() {
            back.connections
                .keep(&back.address, connection, &back.settings, self.kept_for);
        }
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let Some(limit) = self.idle_timeout else {
            return Poll::Pending;
        };
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(limit)));
        silence.as_mut().poll(cx).map(|()| {
            Error::with_source(ErrorKind::ResponseBodyTimeout, format!("after {limit:?}"))
        })
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let result = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.silence = None;
                return Poll::Ready(Some(Ok(passed(frame))));
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Error::with_source(
                ErrorKind::ResponseBody,
                error,
            )))),
            Poll::Ready(None) => {
                this.finish();
                return Poll::Ready(None);
            }
            Poll::Pending => this.poll_silence(cx).map(|error| Some(Err(error))),
        };
        if result.is_ready() {
            // Nothing that comes after that can be told apart from what was to come.
            this.connection = None;
        }
        result
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // Servers do not ask for the end of a body whose length they know.
        if self.body.is_end_stream() {
            self.finish();
        }
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").finish_non_exhaustive()
    }
}

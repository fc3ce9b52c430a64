//! The body of an upstream's response.

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
    http::handshake::sanitize_trailers,
    net::connect::Address,
};

use super::{
    client_response::keep_alive_timeout, connection::Http1Connection,
    idle_connections::IdleConnections, settings::ForwardHttp, upload::UploadProgress,
};

/// Body of an upstream's response, with its connection.
///
/// Dropping it before its end closes the connection.
pub(crate) struct DownloadBody {
    body: Incoming,
    idle_timeout: Option<Duration>,
    /// Timer that runs while the upstream sends nothing.
    idle_timer: Option<Pin<Box<Sleep>>>,
    connection: Option<Http1Connection>,
    /// Progress of the request's body, which must have been sent completely for the connection to
    /// be reused, and whose failure may be why the response broke off.
    upload: Arc<UploadProgress>,
    reuse: Option<ReuseTarget>,
    keep_alive_timeout: Option<Duration>,
}

/// Destination of a connection after its exchange.
pub(crate) struct ReuseTarget {
    pub(crate) connections: Arc<IdleConnections>,
    pub(crate) address: Address,
    pub(crate) settings: ForwardHttp,
}

impl DownloadBody {
    /// Wraps the body of the response with these headers. Without `reuse` the connection is closed
    /// after the exchange.
    pub(crate) fn new(
        body: Incoming,
        headers: &HeaderMap,
        connection: Http1Connection,
        upload: Arc<UploadProgress>,
        reuse: Option<ReuseTarget>,
        settings: &ForwardHttp,
    ) -> Self {
        Self {
            body,
            idle_timeout: settings.response_idle_timeout,
            idle_timer: None,
            connection: Some(connection),
            upload,
            reuse,
            keep_alive_timeout: keep_alive_timeout(headers),
        }
    }

    /// Releases the connection, and keeps it for other requests if the request was sent completely.
    fn finish(&mut self) {
        let (Some(connection), Some(reuse)) = (self.connection.take(), self.reuse.take()) else {
            return;
        };
        if self.upload.is_done() {
            reuse.connections.keep(
                &reuse.address,
                connection,
                &reuse.settings,
                self.keep_alive_timeout,
            );
        }
    }

    fn poll_idle_timeout(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let Some(limit) = self.idle_timeout else {
            return Poll::Pending;
        };
        let idle_timer = self
            .idle_timer
            .get_or_insert_with(|| Box::pin(sleep(limit)));
        idle_timer.as_mut().poll(cx).map(|()| {
            Error::with_source(ErrorKind::ResponseBodyTimeout, format!("after {limit:?}"))
        })
    }
}

impl Body for DownloadBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let result = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.idle_timer = None;
                return Poll::Ready(Some(Ok(sanitize_trailers(frame))));
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(this
                .upload
                .failure()
                .unwrap_or_else(|| Error::with_source(ErrorKind::ResponseBody, error))))),
            Poll::Ready(None) => {
                this.finish();
                return Poll::Ready(None);
            }
            Poll::Pending => this.poll_idle_timeout(cx).map(|error| Some(Err(error))),
        };
        if result.is_ready() {
            // The rest of the connection cannot be separated from the rest of this body.
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

impl Drop for DownloadBody {
    fn drop(&mut self) {
        // Servers do not poll for the end of a body whose length they know.
        if self.body.is_end_stream() {
            self.finish();
        }
    }
}

impl fmt::Debug for DownloadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DownloadBody").finish_non_exhaustive()
    }
}

//! One connection to an upstream.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use http::Request;
use hyper::client::conn::{
    TrySendError,
    http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{sync::watch, time::Instant};

use crate::{
    error::{Error, ErrorKind},
    http::relay::{HeadLimits, Relay},
    net::transport::Transport,
};

use super::{
    activity::SharedActivity,
    connection_task,
    defer_write_errors::{DeferWriteErrors, Received},
    upload::UploadBody,
};

/// Number of a response's header lines that hyper allows by itself.
const HYPER_LINES: usize = 100;

/// The most bytes of a response that one read takes, and of a request's body that wait for the upstream.
/// With the 64 KiB of a head's limit, a large body takes twice the system calls; with more, a client
/// that does not read holds more memory.
const MAX_BUFFER: usize = 128 * 1024;

/// An HTTP/1.1 connection to an upstream. Dropping it closes it, even during an exchange.
pub(crate) struct Http1Connection {
    pub(super) sender: SendRequest<UploadBody>,
    activity: Arc<SharedActivity>,
    is_reused: bool,
    received: Received,
    opened_at: Instant,
}

impl Http1Connection {
    /// Starts HTTP/1.1 on this stream. A task of its own drives the connection and ends with the
    /// connection, with its owner, and on the close signal.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::Response`] if hyper rejects the stream.
    pub(crate) async fn open(
        transport: Transport,
        limits: HeadLimits,
        close_signal: watch::Receiver<u64>,
    ) -> Result<Self, Error> {
        let stream = DeferWriteErrors::new(transport);
        let received = stream.received();
        let mut builder = http1::Builder::new();
        builder
            .title_case_headers(true)
            .max_buf_size(limits.bytes.max(MAX_BUFFER))
            .max_header_size(limits.bytes);
        // Where a number is set, hyper fills a list of so many lines for each response.
        if limits.lines != HYPER_LINES {
            builder.max_headers(limits.lines);
        }
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Error::with_source(ErrorKind::Response, error))?;
        let activity = SharedActivity::new();
        connection_task::start(connection, Arc::clone(&activity), close_signal);
        Ok(Self {
            sender,
            activity,
            is_reused: false,
            received,
            opened_at: Instant::now(),
        })
    }

    /// Returns whether the connection served an exchange before, and may have been closed since.
    pub(crate) const fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Returns the time since the connection was opened.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.opened_at)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Returns whether the previous exchange is complete on both sides.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Waits for another exchange up to this time, and then closes.
    pub(super) fn set_idle(&mut self, until: Instant) {
        self.activity.set_idle(until);
    }

    /// Watches the clocks of this response, until the connection is idle again.
    pub(crate) fn set_response(&self, relay: &Arc<Relay>) {
        self.activity.set_response(relay);
    }

    pub(super) fn set_busy(&mut self) {
        self.activity.set_exchange();
        self.is_reused = true;
    }

    pub(super) fn send(
        &mut self,
        request: Request<UploadBody>,
    ) -> impl Future<Output = SendResult> + use<> {
        self.received.reset();
        self.sender.try_send_request(request)
    }

    /// Returns the kind of a failure that leaves the last request without a response.
    pub(super) fn failure_kind(&self) -> ErrorKind {
        match self.received.any() {
            true => ErrorKind::Response,
            false => ErrorKind::NoResponse,
        }
    }
}

/// Result of a request from hyper.
pub(super) type SendResult =
    Result<http::Response<hyper::body::Incoming>, TrySendError<Request<UploadBody>>>;

/// The task closes the connection, even during an exchange.
impl Drop for Http1Connection {
    fn drop(&mut self) {
        self.activity.set_over();
    }
}

impl fmt::Debug for Http1Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http1Connection")
            .field("is_reused", &self.is_reused)
            .finish_non_exhaustive()
    }
}

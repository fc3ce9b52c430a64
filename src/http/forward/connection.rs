//! One connection to an upstream, and the task that drives it.

use std::{
    fmt,
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::Poll,
    time::Duration,
};

use http::Request;
use hyper::client::conn::{
    TrySendError,
    http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    error::{Error, ErrorKind},
    http::relay::{Driver, HeadLimits, Relay, cut},
    net::transport::Transport,
    task,
};

use super::{
    defer_write_errors::{DeferWriteErrors, Received},
    upload::UploadBody,
};

type HyperConnection = http1::Connection<TokioIo<DeferWriteErrors>, UploadBody>;

/// An HTTP/1.1 connection to an upstream. Dropping it closes it, even during an exchange.
pub(crate) struct Http1Connection {
    pub(super) sender: SendRequest<UploadBody>,
    activity: watch::Sender<Activity>,
    is_reused: bool,
    received: Received,
    opened_at: Instant,
}

/// Purpose for which the connection is open.
#[derive(Clone)]
enum Activity {
    Exchange,
    /// The response is on its way to the client.
    Response(Weak<Relay>),
    /// Waiting for the next exchange, up to this time.
    Idle(Instant),
}

/// Event in the life of a connection.
enum Event {
    /// Another activity, or the end of the connection.
    Changed,
    /// The connection is not needed any more.
    Over,
    /// The close signal.
    Closed,
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
        let (sender, connection) = http1::Builder::new()
            .title_case_headers(true)
            .max_headers(limits.lines)
            .max_buf_size(limits.bytes)
            .max_header_size(limits.bytes)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Error::with_source(ErrorKind::Response, error))?;
        let (activity, activity_changes) = watch::channel(Activity::Exchange);
        task::spawn(drive(connection, activity_changes, close_signal));
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
        self.activity.send_replace(Activity::Idle(until));
    }

    /// Watches the clocks of this response, until the connection is idle again.
    pub(crate) fn set_response(&self, relay: &Arc<Relay>) {
        let relay = Arc::downgrade(relay);
        self.activity.send_replace(Activity::Response(relay));
    }

    pub(super) fn set_busy(&mut self) {
        self.activity.send_replace(Activity::Exchange);
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

/// Drives a connection until it ends, its owner is dropped, its idle time is over, or a limit on the
/// response is exceeded.
async fn drive(
    connection: HyperConnection,
    mut activity: watch::Receiver<Activity>,
    mut close_signal: watch::Receiver<u64>,
) {
    // Dropped at its end, so that its owner sees that it is closed.
    let mut connection = Some(connection);
    let mut close_signal = pin!(close_signal.changed());
    loop {
        let current = activity.borrow_and_update().clone();
        // The last bytes of a response may wait for the client when the connection has ended.
        if connection.is_none() && matches!(current, Activity::Idle(_)) {
            return;
        }
        let mut changed = pin!(activity.changed());
        let mut over = pin!(current.clone().over());
        let event = poll_fn(|cx| {
            if let Poll::Ready(changed) = changed.as_mut().poll(cx) {
                return Poll::Ready(changed.map_or(Event::Over, |()| Event::Changed));
            }
            if close_signal.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Closed);
            }
            if let Some(open) = &mut connection {
                if Pin::new(open).poll(cx).is_ready() {
                    connection = None;
                    return Poll::Ready(Event::Changed);
                }
            }
            over.as_mut().poll(cx).map(|()| Event::Over)
        })
        .await;
        match event {
            Event::Changed => {}
            Event::Over => return,
            Event::Closed => {
                if let Activity::Response(relay) = &current {
                    cut(relay);
                }
                return;
            }
        }
    }
}

impl Activity {
    /// Waits until the connection is to be closed.
    async fn over(self) {
        match self {
            Self::Exchange => pending().await,
            Self::Response(relay) => Driver::new(relay).failed().await,
            Self::Idle(until) => sleep_until(until).await,
        }
    }
}

impl fmt::Debug for Http1Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http1Connection")
            .field("is_reused", &self.is_reused)
            .finish_non_exhaustive()
    }
}

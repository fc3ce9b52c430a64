//! One connection to an upstream, and the task that drives it.

use std::{
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    task::Poll,
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
    http::handshake::HeadLimits,
    net::transport::Transport,
    task,
};

use super::{
    defer_write_errors::{DeferWriteErrors, Received},
    upload::UploadBody,
};

type HyperConnection = http1::Connection<TokioIo<DeferWriteErrors>, UploadBody>;

/// An HTTP/1.1 connection to an upstream. Dropping it closes it, even during an exchange.
#[derive(Debug)]
pub(crate) struct Http1Connection {
    pub(super) sender: SendRequest<UploadBody>,
    activity: watch::Sender<Activity>,
    is_reused: bool,
    received: Received,
}

/// Purpose for which the connection is open.
#[derive(Clone, Copy, Debug)]
enum Activity {
    Exchange,
    /// Waiting for the next exchange, up to this time.
    Idle(Instant),
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
        })
    }

    /// Returns whether the connection served an exchange before, and may have been closed since.
    pub(crate) const fn is_reused(&self) -> bool {
        self.is_reused
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

/// Drives a connection until it ends, its owner is dropped, or its idle time is over.
async fn drive(
    mut connection: HyperConnection,
    mut activity: watch::Receiver<Activity>,
    mut close_signal: watch::Receiver<u64>,
) {
    let mut close_signal = pin!(close_signal.changed());
    loop {
        let idle_until = match *activity.borrow_and_update() {
            Activity::Exchange => None,
            Activity::Idle(until) => Some(until),
        };
        let mut changed = pin!(activity.changed());
        let mut idle_timer = pin!(async {
            match idle_until {
                Some(until) => sleep_until(until).await,
                None => pending().await,
            }
        });
        let is_open = poll_fn(|cx| {
            if let Poll::Ready(changed) = changed.as_mut().poll(cx) {
                return Poll::Ready(changed.is_ok());
            }
            let is_over = close_signal.as_mut().poll(cx).is_ready()
                || Pin::new(&mut connection).poll(cx).is_ready()
                || idle_timer.as_mut().poll(cx).is_ready();
            match is_over {
                true => Poll::Ready(false),
                false => Poll::Pending,
            }
        })
        .await;
        if !is_open {
            return;
        }
    }
}

//! One connection to an upstream, and what drives it.

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

use super::{patient::Patient, upload::UploadBody};

type Driven = http1::Connection<TokioIo<Patient>, UploadBody>;

/// An HTTP/1.1 connection to an upstream. Dropping it closes it, whatever is under way on it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) sender: SendRequest<UploadBody>,
    use_: watch::Sender<Use>,
    is_reused: bool,
}

/// What a connection is kept for.
#[derive(Clone, Copy, Debug)]
enum Use {
    Exchange,
    /// The next exchange, if it comes by this time.
    Next(Instant),
}

impl Connection {
    /// Speaks HTTP/1.1 on this stream, driven by a task of its own that ends with the connection,
    /// with its owner, and when it is `cut`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Response`]
    pub(crate) async fn open(
        transport: Transport,
        limits: HeadLimits,
        cut: watch::Receiver<u64>,
    ) -> Result<Self, Error> {
        let (sender, driven) = http1::Builder::new()
            .title_case_headers(true)
            .max_headers(limits.lines)
            .max_buf_size(limits.bytes)
            .max_header_size(limits.bytes)
            .handshake(TokioIo::new(Patient::new(transport)))
            .await
            .map_err(|error| Error::with_source(ErrorKind::Response, error))?;
        let (use_, watched) = watch::channel(Use::Exchange);
        task::spawn(drive(driven, watched, cut));
        Ok(Self {
            sender,
            use_,
            is_reused: false,
        })
    }

    /// Whether an exchange went before, since when the upstream may have closed it.
    pub(crate) const fn is_reused(&self) -> bool {
        self.is_reused
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether the exchange before is over on both sides.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Waits for another exchange until then, and closes if there is none.
    pub(super) fn rest(&mut self, until: Instant) {
        self.use_.send_replace(Use::Next(until));
    }

    pub(super) fn wake(&mut self) {
        self.use_.send_replace(Use::Exchange);
        self.is_reused = true;
    }

    pub(super) fn send(
        &mut self,
        request: Request<UploadBody>,
    ) -> impl Future<Output = Sent> + use<> {
        self.sender.try_send_request(request)
    }
}

/// What hyper makes of a request that is sent.
pub(super) type Sent =
    Result<http::Response<hyper::body::Incoming>, TrySendError<Request<UploadBody>>>;

/// Drives a connection until it is done, its owner is, or it has waited long enough.
async fn drive(
    mut driven: Driven,
    mut watched: watch::Receiver<Use>,
    mut cut: watch::Receiver<u64>,
) {
    let mut cut = pin!(cut.changed());
    loop {
        let rests_until = match *watched.borrow_and_update() {
            Use::Exchange => None,
            Use::Next(until) => Some(until),
        };
        let mut changed = pin!(watched.changed());
        let mut rested = pin!(async {
            match rests_until {
                Some(until) => sleep_until(until).await,
                None => pending().await,
            }
        });
        let goes_on = poll_fn(|cx| {
            if let Poll::Ready(changed) = changed.as_mut().poll(cx) {
                return Poll::Ready(changed.is_ok());
            }
            let is_over = cut.as_mut().poll(cx).is_ready()
                || Pin::new(&mut driven).poll(cx).is_ready()
                || rested.as_mut().poll(cx).is_ready();
            match is_over {
                true => Poll::Ready(false),
                false => Poll::Pending,
            }
        })
        .await;
        if !goes_on {
            return;
        }
    }
}

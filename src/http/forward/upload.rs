//! The body of a client's request, and its progress.

use std::{
    error::Error as StdError,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{LengthLimitError, combinators::UnsyncBoxBody};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use crate::{
    alarm::Alarm,
    error::{BoxError, Error, ErrorKind},
    http::headers::ReservedNames,
    http::relay::{ProgressClock, ProgressLimits},
    instant::saturating_add,
    lock::lock,
};

/// Body of a client's request, independent of the host's body type.
pub(crate) type ClientBody = UnsyncBoxBody<Bytes, BoxError>;

/// Progress of a request's body, shared with the exchange while the connection to the upstream owns
/// the body.
#[derive(Debug)]
pub(crate) struct UploadProgress {
    phase: Mutex<PhaseTimer>,
    /// Whether the head of the response has arrived, which the upload delays no longer.
    has_response: AtomicBool,
}

#[derive(Debug)]
struct PhaseTimer {
    phase: UploadPhase,
    /// Start of the phase.
    since: Instant,
}

#[derive(Debug)]
enum UploadPhase {
    /// The client has to send more.
    WaitingForClient,
    /// The upstream has to accept data.
    WaitingForUpstream,
    /// The upstream was given the whole body.
    Done,
    /// The client failed to send its body.
    Failed(Error),
}

impl UploadProgress {
    pub(crate) fn new(body: &ClientBody) -> Arc<Self> {
        let phase = match body.is_end_stream() {
            true => UploadPhase::Done,
            false => UploadPhase::WaitingForUpstream,
        };
        let since = Instant::now();
        Arc::new(Self {
            phase: Mutex::new(PhaseTimer { phase, since }),
            has_response: AtomicBool::new(false),
        })
    }

    /// Starts the upstream's time.
    pub(super) fn start(&self) {
        self.state().since = Instant::now();
    }

    /// Ends the measurement of the client's rate: the response is there.
    pub(super) fn set_response(&self) {
        self.has_response.store(true, Ordering::Relaxed);
    }

    /// Returns whether the whole body was sent.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state().phase, UploadPhase::Done)
    }

    /// Returns the client's failure, if one ended the request.
    pub(crate) fn failure(&self) -> Option<Error> {
        match &self.state().phase {
            UploadPhase::Failed(error) => Some(error.clone()),
            _ => None,
        }
    }

    /// Returns when the upstream is late, if it may take `within` to respond or to accept more.
    /// Time in which the proxy waits for the client does not count.
    pub(super) fn response_deadline(&self, within: Duration, now: Instant) -> Instant {
        let state = self.state();
        match state.phase {
            UploadPhase::WaitingForClient => saturating_add(now, within),
            UploadPhase::WaitingForUpstream | UploadPhase::Done | UploadPhase::Failed(_) => {
                saturating_add(state.since, within)
            }
        }
    }

    fn enter(&self, phase: UploadPhase) {
        *self.state() = PhaseTimer {
            phase,
            since: Instant::now(),
        };
    }

    fn state(&self) -> MutexGuard<'_, PhaseTimer> {
        lock(&self.phase)
    }
}

/// Request body that a connection to an upstream sends.
///
/// The client's body is not polled before the connection asks for data. So a client that waits for
/// a 100 gets one only when its data can be forwarded.
pub(crate) struct UploadBody {
    body: ClientBody,
    /// Headers that trailers must not have.
    reserved: ReservedNames,
    upload: Arc<UploadProgress>,
    continue_wait: Option<ContinueWait>,
    /// Clock that runs while the client sends nothing.
    clock: ProgressClock,
    alarm: Alarm,
}

/// Future that ends at the upstream's 100, or after the timeout.
type ContinueWait = Pin<Box<dyn Future<Output = ()> + Send>>;

impl UploadBody {
    pub(crate) fn new(
        body: ClientBody,
        reserved: ReservedNames,
        upload: Arc<UploadProgress>,
        limits: ProgressLimits,
    ) -> Self {
        Self {
            body,
            reserved,
            upload,
            continue_wait: None,
            clock: ProgressClock::new(limits),
            alarm: Alarm::default(),
        }
    }

    /// Holds the body back until the returned handle is notified, or this time is over.
    pub(crate) fn hold_for_continue(&mut self, at_most: Duration) -> Arc<Notify> {
        let notify_continue = Arc::new(Notify::new());
        let notify = Arc::clone(&notify_continue);
        self.continue_wait = Some(Box::pin(async move {
            let _ = timeout(at_most, notify.notified()).await;
        }));
        notify_continue
    }

    /// Returns the client's body, of which nothing was sent.
    pub(crate) fn into_client_body(self) -> ClientBody {
        self.body
    }

    fn fail(&self, error: Error) -> Error {
        self.upload.enter(UploadPhase::Failed(error.clone()));
        error
    }

    fn map_frame(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        self.clock.count(frame.data_ref().map_or(0, Bytes::len));
        self.clock.stop(Instant::now());
        match frame.into_trailers() {
            Ok(mut trailers) => {
                self.reserved.strip(&mut trailers);
                self.upload.enter(UploadPhase::Done);
                Frame::trailers(trailers)
            }
            Err(frame) => {
                let phase = match self.body.is_end_stream() {
                    true => UploadPhase::Done,
                    false => UploadPhase::WaitingForUpstream,
                };
                self.upload.enter(phase);
                frame
            }
        }
    }

    /// Polls the limits on a client that sends nothing.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        if self.upload.has_response.load(Ordering::Relaxed) {
            self.clock.ignore_rate();
        }
        self.upload.enter(UploadPhase::WaitingForClient);
        self.clock.wait(Instant::now());
        loop {
            let now = Instant::now();
            if let Some(stall) = self.clock.stall(now) {
                let error = stall.error(ErrorKind::RequestBodyTimeout);
                return Poll::Ready(self.fail(error));
            }
            let Some(next) = self.clock.next_look(now) else {
                return Poll::Pending;
            };
            ready!(self.alarm.poll_until(cx, next));
        }
    }
}

/// Returns the kind of a failure to read the client's body, which may come from a limit of the host's.
fn failure_kind(error: &(dyn StdError + 'static)) -> ErrorKind {
    let mut chain = std::iter::successors(Some(error), |error| (**error).source());
    match chain.any(<dyn StdError>::is::<LengthLimitError>) {
        true => ErrorKind::RequestBodyTooLarge,
        false => ErrorKind::RequestBody,
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Some(continue_wait) = &mut this.continue_wait {
            if continue_wait.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.continue_wait = None;
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(this.map_frame(frame)))),
            Poll::Ready(Some(Err(error))) => {
                let error = Error::with_source(failure_kind(&*error), error);
                Poll::Ready(Some(Err(this.fail(error))))
            }
            Poll::Ready(None) => {
                this.upload.enter(UploadPhase::Done);
                Poll::Ready(None)
            }
            Poll::Pending => this.poll_stall(cx).map(|error| Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! The state of a response under way, shared by its body and its driver.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::{error::Error, lock::lock};

use super::{
    clocks::{RelayLimits, ResponseClocks, UpstreamLoss},
    response_head::sanitize_trailers,
};

/// Body of an upstream's response. Dropping it before its end closes the upstream's connection, or
/// resets its stream.
pub(crate) type Source = Pin<Box<dyn Body<Data = Bytes, Error = Error> + Send>>;

/// Result of a poll for the next frame.
type Polled = Poll<Option<Result<Frame<Bytes>, Error>>>;

/// Guard of a relayed response: it holds what the exchange takes, until the exchange is over.
///
/// Dropping it means that the client went away.
pub(crate) trait ExchangeGuard: Send {
    /// The relay of the response begins.
    fn begin(&mut self, _relay: &Arc<Relay>) {}

    /// The upstream's response has ended in order.
    fn completed(self: Box<Self>);

    /// The response was broken off, for this reason.
    fn failed(self: Box<Self>, error: &Error);
}

/// A response under way.
pub(crate) struct Relay(Mutex<State>);

struct State {
    /// `None` once the upstream's part is over.
    source: Option<Source>,
    guard: Option<Box<dyn ExchangeGuard>>,
    clocks: ResponseClocks,
    ahead: ReadAhead,
    /// Error that the body still has to return.
    failure: Option<Error>,
    body: Option<Waker>,
    driver: Option<Waker>,
    /// Task of the upstream's connection, which watches the clocks in place of a driver.
    watcher: Option<Waker>,
}

/// Part of a response that was read before the client asked for it.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    data: BytesMut,
    trailers: Option<Box<HeaderMap>>,
    /// Number of bytes that may still be read ahead.
    room: usize,
}

/// Result of a look at a response.
pub(crate) enum Look {
    /// The upstream's part is over.
    Over,
    /// A limit was exceeded, or the response broke off.
    Failed,
    /// Nothing is to be done before this time.
    Next(Option<Instant>),
}

/// End of the upstream's part, to be settled when the lock is released: a guard may call the host.
struct Settlement {
    source: Option<Source>,
    guard: Option<Box<dyn ExchangeGuard>>,
    result: Result<(), Error>,
}

impl Relay {
    /// Starts to relay a response, of which up to `read_ahead` bytes are read before the client
    /// asks for them.
    pub(crate) fn new(source: Source, limits: RelayLimits, read_ahead: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            source: Some(source),
            guard: None,
            clocks: ResponseClocks::new(limits, Instant::now()),
            ahead: ReadAhead {
                room: read_ahead,
                ..ReadAhead::default()
            },
            failure: None,
            body: None,
            driver: None,
            watcher: None,
        })))
    }

    /// Sets the guard, which is dropped when the exchange is over.
    pub(super) fn set_guard(&self, guard: Box<dyn ExchangeGuard>) {
        self.state().guard = Some(guard);
    }

    /// Returns the next frame for the client.
    pub(super) fn poll_frame(&self, cx: &mut Context<'_>) -> Polled {
        let now = Instant::now();
        let mut state = self.state();
        state.clocks.client_asks(now);
        if let Some(frame) = state.ahead.take() {
            state.wait_for_client(&frame, now);
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(error) = state.failure.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if state.source.is_none() {
            return Poll::Ready(None);
        }
        if state.ahead.is_reading() {
            state.body = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let (polled, settlement) = state.poll_source(cx, now);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => state.wait_for_client(frame, now),
            Poll::Ready(_) => {}
            Poll::Pending => state.body = Some(cx.waker().clone()),
        }
        drop(state);
        Settlement::settle_any(settlement);
        polled
    }

    /// Sets the task that [checks](Self::check) the clocks without reading ahead, and returns when it has
    /// to do so next. A response that ends in order does not wake it.
    pub(crate) fn watch(&self, task: &Waker) -> Option<Instant> {
        let mut state = self.state();
        state.watcher = Some(task.clone());
        state.clocks.next_look(Instant::now())
    }

    /// Looks at the clocks.
    pub(crate) fn check(&self, now: Instant) -> Look {
        let mut state = self.state();
        let settlement = state.settle_overdue(now);
        let look = state.look(settlement.as_ref(), now);
        drop(state);
        Settlement::settle_any(settlement);
        look
    }

    /// Reads ahead, and looks at the clocks.
    pub(super) fn look(&self, cx: &mut Context<'_>, now: Instant) -> Look {
        let mut state = self.state();
        let settlement = state.read_ahead(cx, now);
        let settlement = settlement.or_else(|| state.settle_overdue(now));
        let look = state.look(settlement.as_ref(), now);
        if matches!(look, Look::Next(_)) {
            state.driver = Some(cx.waker().clone());
        }
        drop(state);
        Settlement::settle_any(settlement);
        look
    }

    /// Breaks the response off, unless it is over.
    pub(super) fn cut(&self, error: Error) {
        let mut state = self.state();
        let settlement = state.source.is_some().then(|| state.fail(error));
        drop(state);
        Settlement::settle_any(settlement);
    }

    /// Breaks the response off at this time, because of the loss of its upstream.
    pub(crate) fn end_at(&self, loss: UpstreamLoss, at: Instant) {
        let mut state = self.state();
        state.clocks.end_at(loss, at);
        let (driver, watcher) = (state.driver.take(), state.watcher.clone());
        drop(state);
        for task in [driver, watcher].into_iter().flatten() {
            task.wake();
        }
    }

    /// Goes on although the upstream was drained, as that was called off.
    pub(crate) fn cancel_drain(&self) {
        self.state().clocks.cancel_drain();
    }

    /// Ends the exchange without an error: the client has left, and no body is read any more.
    pub(super) fn close(&self) {
        let mut state = self.state();
        let (source, guard) = (state.source.take(), state.guard.take());
        let driver = state.driver.take();
        drop(state);
        drop(source);
        drop(guard);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Takes all that was read of a response that is over.
    pub(super) fn take_whole(&self) -> ReadAhead {
        std::mem::take(&mut self.state().ahead)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let state = self.state();
        let source_is_over = state.source.as_ref().is_none_or(Body::is_end_stream);
        source_is_over && state.failure.is_none() && state.ahead.is_empty()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let state = self.state();
        if state.failure.is_some() {
            // The bytes read are not all: a server would take their number for a length that the
            // head denies.
            return SizeHint::default();
        }
        let mut hint = match &state.source {
            Some(source) => source.size_hint(),
            None => SizeHint::with_exact(0),
        };
        let ahead = state.ahead.len();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(ahead));
        }
        hint.set_lower(hint.lower().saturating_add(ahead));
        hint
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl State {
    fn poll_source(&mut self, cx: &mut Context<'_>, now: Instant) -> (Polled, Option<Settlement>) {
        let Some(source) = &mut self.source else {
            return (Poll::Ready(None), None);
        };
        match source.as_mut().poll_frame(cx) {
            Poll::Pending => {
                self.clocks.wait_for_upstream(now);
                (Poll::Pending, None)
            }
            Poll::Ready(None) => (Poll::Ready(None), Some(self.end(Ok(())))),
            Poll::Ready(Some(Err(error))) => {
                let settlement = self.end(Err(error.clone()));
                (Poll::Ready(Some(Err(error))), Some(settlement))
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.clocks.upstream_sent(now);
                // Servers do not ask for more after trailers, or after a body of known length.
                let is_last = frame.is_trailers() || source.is_end_stream();
                let settlement = is_last.then(|| self.end(Ok(())));
                (Poll::Ready(Some(Ok(sanitize_trailers(frame)))), settlement)
            }
        }
    }

    fn read_ahead(&mut self, cx: &mut Context<'_>, now: Instant) -> Option<Settlement> {
        while self.ahead.is_reading() && self.source.is_some() {
            let (polled, settlement) = self.poll_source(cx, now);
            match polled {
                Poll::Pending => return None,
                Poll::Ready(Some(Ok(frame))) => self.ahead.push(frame),
                Poll::Ready(Some(Err(error))) => self.failure = Some(error),
                Poll::Ready(None) => {}
            }
            self.wake_body();
            if settlement.is_some() {
                return settlement;
            }
        }
        None
    }

    /// Breaks the response off if a limit is exceeded.
    fn settle_overdue(&mut self, now: Instant) -> Option<Settlement> {
        let error = self.clocks.overdue(now)?;
        self.source.is_some().then(|| self.fail(error))
    }

    /// Returns what a look at the response found, which settled it or not.
    fn look(&self, settlement: Option<&Settlement>, now: Instant) -> Look {
        match settlement {
            Some(Settlement { result: Err(_), .. }) => Look::Failed,
            None if self.source.is_some() => Look::Next(self.clocks.next_look(now)),
            _ => Look::Over,
        }
    }

    fn fail(&mut self, error: Error) -> Settlement {
        self.ahead = ReadAhead::default();
        self.failure = Some(error.clone());
        self.wake_body();
        self.end(Err(error))
    }

    fn end(&mut self, result: Result<(), Error>) -> Settlement {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
        Settlement {
            source: self.source.take(),
            guard: self.guard.take(),
            result,
        }
    }

    fn wait_for_client(&mut self, frame: &Frame<Bytes>, now: Instant) {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        self.clocks.wait_for_client(bytes, now);
    }

    fn wake_body(&mut self) {
        if let Some(body) = self.body.take() {
            body.wake();
        }
    }
}

impl Settlement {
    fn settle_any(settlement: Option<Self>) {
        if let Some(settlement) = settlement {
            settlement.settle();
        }
    }

    fn settle(self) {
        drop(self.source);
        match (self.guard, self.result) {
            (None, _) => {}
            (Some(guard), Ok(())) => guard.completed(),
            (Some(guard), Err(error)) => guard.failed(&error),
        }
    }
}

impl ReadAhead {
    /// Returns whether more is to be read ahead.
    fn is_reading(&self) -> bool {
        self.room > 0
    }

    fn push(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) => {
                // A frame of the upstream holds a whole read buffer.
                self.data.extend_from_slice(&data);
                self.room = self.room.saturating_sub(data.len());
            }
            Err(frame) => self.trailers = frame.into_trailers().ok().map(Box::new),
        }
    }

    pub(super) fn take(&mut self) -> Option<Frame<Bytes>> {
        if !self.data.is_empty() {
            return Some(Frame::data(self.data.split().freeze()));
        }
        self.trailers
            .take()
            .map(|trailers| Frame::trailers(*trailers))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    pub(super) fn len(&self) -> u64 {
        self.data.len() as u64
    }

    /// Returns the size of all that is left. It is not exact if trailers follow: HTTP/1.1 has none
    /// behind a body of known length.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self.trailers {
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(self.len()),
        }
    }
}

impl From<Bytes> for ReadAhead {
    fn from(data: Bytes) -> Self {
        Self {
            data: data.into(),
            ..Self::default()
        }
    }
}

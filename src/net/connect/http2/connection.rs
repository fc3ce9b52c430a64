//! A shared connection, and the count of its streams.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::uri::Scheme;
use tokio::time::Instant;

use crate::{instant::saturating_add, lock::lock};

/// A shared connection, as the openers of its streams see it.
pub(super) struct Connection {
    state: Mutex<State>,
    max_streams: usize,
    pub(super) scheme: Scheme,
}

struct State {
    /// None once no more streams may be opened. When it and all streams are dropped, h2 closes the
    /// connection.
    sender: Option<SendRequest<Bytes>>,
    streams: usize,
    /// When the last stream ended, or the connection was opened.
    idle_since: Instant,
}

impl Connection {
    pub(super) fn new(
        sender: SendRequest<Bytes>,
        max_streams: usize,
        scheme: Scheme,
        now: Instant,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                sender: Some(sender),
                streams: 0,
                idle_since: now,
            }),
            max_streams,
            scheme,
        }
    }

    /// Whether streams may still be opened on it, if there is room.
    pub(super) fn is_open(&self) -> bool {
        self.state().check().is_some()
    }

    /// Takes the slot of a stream, if one is free.
    pub(super) fn take(self: &Arc<Self>) -> Option<(SendRequest<Bytes>, StreamGuard)> {
        let mut state = self.state();
        let sender = state.check()?.clone();
        // RFC 9113 §5.1.2: the upstream may change the limit at any time.
        if state.streams >= self.max_streams.min(sender.current_max_send_streams()) {
            return None;
        }
        state.streams += 1;
        Some((sender, StreamGuard(Arc::clone(self))))
    }

    /// Opens no more streams. Those that are open go on.
    pub(super) fn close(&self) {
        self.state().sender = None;
    }

    /// Closes the connection if it has been idle for that long; returns when to check again.
    pub(super) fn close_if_idle(&self, limit: Duration, now: Instant) -> Instant {
        let mut state = self.state();
        if state.streams > 0 {
            return saturating_add(now, limit);
        }
        let due = saturating_add(state.idle_since, limit);
        if due > now {
            return due;
        }
        state.sender = None;
        saturating_add(now, limit)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// The way to open streams, unless the connection is over or the upstream has announced its
    /// end (RFC 9113 §6.8).
    fn check(&mut self) -> Option<&mut SendRequest<Bytes>> {
        let sender = self.sender.as_mut()?;
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Err(_)) = sender.poll_ready(&mut cx) {
            self.sender = None;
        }
        self.sender.as_mut()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Connection")
            .field("is_open", &state.sender.is_some())
            .field("streams", &state.streams)
            .finish_non_exhaustive()
    }
}

/// Guard of an open stream: frees the slot when it is dropped.
#[derive(Debug)]
pub(crate) struct StreamGuard(pub(super) Arc<Connection>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.streams = state.streams.saturating_sub(1);
        if state.streams == 0 {
            state.idle_since = Instant::now();
        }
    }
}

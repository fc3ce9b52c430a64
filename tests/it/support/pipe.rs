//! A connection in memory whose far end is a value and not a task: the test decides after each
//! step on the bytes, the room and the faults of the connection.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// The far end of a connection.
#[derive(Clone)]
pub(crate) struct FarEnd(Arc<Shared>);

/// The end that the tunnel holds.
pub(crate) struct NearEnd(Arc<Shared>);

struct Shared(Mutex<State>);

/// Both directions of the connection, and the marks that the tunnel has left on it.
#[derive(Default)]
pub(crate) struct State {
    /// Bytes for the tunnel that it has not read.
    inbound: VecDeque<u8>,
    has_finished: bool,
    pub(crate) reset: bool,
    wakers: Vec<Waker>,
    /// Bytes that the far end still takes before the tunnel's writes stall.
    pub(crate) room: usize,
    /// Whether flushes do not complete, nor the end of the tunnel's direction.
    pub(crate) holds_flushes: bool,
    /// All bytes that the far end has sent.
    pub(crate) sent: Vec<u8>,
    /// All bytes that the far end has received.
    pub(crate) received: Vec<u8>,
    /// How many of the sent bytes the tunnel had read, at each of its reads.
    pub(crate) reads: Vec<(Instant, usize)>,
    /// The moment at which the tunnel saw the end or the reset.
    pub(crate) end_seen: Option<Instant>,
    /// The tunnel has ended its direction in order.
    pub(crate) was_shut: bool,
    /// When the tunnel dropped the connection.
    pub(crate) dropped_at: Option<Instant>,
    /// Responds to bytes as soon as they are received.
    responder: Option<Responder>,
}

/// A function that is called after each write of the tunnel, until it returns true.
type Responder = Box<dyn FnMut(&mut State) -> bool + Send>;

pub(crate) fn connection() -> (FarEnd, NearEnd) {
    let state = State {
        room: usize::MAX,
        ..State::default()
    };
    let shared = Arc::new(Shared(Mutex::new(state)));
    (FarEnd(Arc::clone(&shared)), NearEnd(shared))
}

impl FarEnd {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }

    /// Sends bytes, unless this end has finished.
    pub(crate) fn send(&self, bytes: &[u8]) {
        self.change(|state| state.send(bytes));
    }

    /// Ends the sending direction in order.
    pub(crate) fn finish(&self) {
        self.change(|state| state.has_finished = true);
    }

    /// Breaks the connection in both directions. Bytes on their way to the tunnel are lost.
    pub(crate) fn reset(&self) {
        self.change(|state| state.reset = true);
    }

    /// Takes so many more bytes from now on.
    pub(crate) fn set_room(&self, room: usize) {
        self.change(|state| {
            state.room = room;
            state.holds_flushes = false;
        });
    }

    /// Completes no flush until room is made.
    pub(crate) fn hold_flushes(&self) {
        self.change(|state| state.holds_flushes = true);
    }

    /// Has a function called after each write of the tunnel, until it returns true.
    #[allow(dead_code, reason = "not every fuzz target needs it")]
    pub(crate) fn respond_by(&self, responder: impl FnMut(&mut State) -> bool + Send + 'static) {
        self.state().responder = Some(Box::new(responder));
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        for waker in state.wakers.drain(..) {
            waker.wake();
        }
    }
}

impl State {
    /// Sends bytes, unless the far end has finished.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if !self.has_finished {
            self.inbound.extend(bytes);
            self.sent.extend_from_slice(bytes);
        }
    }

    fn respond(&mut self) {
        let Some(mut responder) = self.responder.take() else {
            return;
        };
        if !responder(self) {
            self.responder = Some(responder);
        }
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }

    /// The moment at which the tunnel had read so many bytes.
    pub(crate) fn read_at(&self, len: usize) -> Option<Instant> {
        let read = self.reads.iter().find(|(_, total)| *total >= len);
        read.map(|(at, _)| *at)
    }

    /// Whether the tunnel has seen no end of what this end sends.
    pub(crate) fn is_silent(&self) -> bool {
        self.end_seen.is_none()
    }

    /// How many of the sent bytes the tunnel has read.
    pub(crate) fn read_len(&self) -> usize {
        self.reads.last().map_or(0, |(_, total)| *total)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.0.lock();
        // A case that fails is run again with other values.
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, unless the connection was reset.
    fn unbroken(&self, kind: io::ErrorKind) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.reset {
            state.end_seen.get_or_insert_with(Instant::now);
            return Err(kind.into());
        }
        Ok(state)
    }

    /// The state, once a flush is complete.
    fn flushed(&self, cx: &Context<'_>) -> Poll<io::Result<MutexGuard<'_, State>>> {
        let mut state = self.unbroken(io::ErrorKind::BrokenPipe)?;
        if state.holds_flushes {
            state.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(state))
    }
}

impl AsyncRead for NearEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.unbroken(io::ErrorKind::ConnectionReset)?;
        let len = state.inbound.len().min(buf.remaining());
        if len > 0 {
            let bytes: Vec<u8> = state.inbound.drain(..len).collect();
            buf.put_slice(&bytes);
            let total = state.read_len() + len;
            state.reads.push((Instant::now(), total));
            return Poll::Ready(Ok(()));
        }
        if state.has_finished {
            state.end_seen.get_or_insert_with(Instant::now);
            return Poll::Ready(Ok(()));
        }
        state.wakers.push(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for NearEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.unbroken(io::ErrorKind::BrokenPipe)?;
        assert!(!state.was_shut, "a write after the shutdown");
        let len = bytes.len().min(state.room);
        if len == 0 && !bytes.is_empty() {
            state.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        state.room -= if state.room == usize::MAX { 0 } else { len };
        state.received.extend_from_slice(&bytes[..len]);
        state.respond();
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.flushed(cx).map_ok(drop)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.flushed(cx))?.was_shut = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for NearEnd {
    fn drop(&mut self) {
        self.0.state().dropped_at = Some(Instant::now());
    }
}

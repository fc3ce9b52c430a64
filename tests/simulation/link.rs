//! Connections in memory: bytes take their time, and a wire can be cut or reset.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::{Instant, Sleep, sleep, sleep_until},
};

/// Bytes on their way in one direction before the writer must wait.
const CAPACITY: usize = 64 * 1024;

/// The wire to one machine: all connections to it fail, and hang, together.
#[derive(Debug)]
pub(crate) struct Wire {
    latency: Duration,
    reads: Reads,
    state: Mutex<WireState>,
    changed: Notify,
}

#[derive(Debug)]
struct WireState {
    reach: Reach,
    links: Vec<Weak<Link>>,
    prune_at: usize,
}

/// Outcome of a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Accepts,
    /// The proxy's machine has no local port left for it; the connections that it has go on.
    NoPort,
    /// The port is closed: the machine answers with RST.
    Refuses,
    /// Nothing arrives, in either direction. As with TCP, what was sent is sent again when the
    /// wire is whole, as long as both ends still have the connection.
    Cut,
}

/// Sizes of reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// A read returns what has arrived, as far as there is room.
    Whole,
    /// Some reads return a few bytes alone.
    Split,
}

/// One connection.
#[derive(Debug)]
struct Link {
    latency: Duration,
    reads: Reads,
    wire: Option<Arc<Wire>>,
    state: Mutex<LinkState>,
}

#[derive(Debug, Default)]
struct LinkState {
    /// Pipes by the side that writes.
    pipes: [Pipe; 2],
    is_reset: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Pipe {
    chunks: VecDeque<Chunk>,
    len: usize,
    /// When the end of it arrives.
    ends: Option<Instant>,
    reader_is_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug)]
struct Chunk {
    arrives: Instant,
    bytes: Vec<u8>,
    read: usize,
}

/// One end of a connection. Dropping it ends the connection in order.
#[derive(Debug)]
pub(crate) struct End {
    link: Arc<Link>,
    side: usize,
    nap: Option<Pin<Box<Sleep>>>,
}

/// A connection without faults.
pub(crate) fn pair(latency: Duration, reads: Reads) -> (End, End) {
    Link::ends(Arc::new(Link::new(latency, reads, None)))
}

impl Reads {
    /// The most that the next read returns.
    fn next(self) -> usize {
        match self {
            Self::Split if fastrand::u8(0..4) == 0 => fastrand::usize(1..=3),
            Self::Split | Self::Whole => usize::MAX,
        }
    }
}

impl Wire {
    pub(crate) fn new(latency: Duration, reads: Reads) -> Arc<Self> {
        Arc::new(Self {
            latency,
            reads,
            state: Mutex::new(WireState {
                reach: Reach::Accepts,
                links: Vec::new(),
                prune_at: 64,
            }),
            changed: Notify::new(),
        })
    }

    /// Connects, after one round trip: the near end, then the machine's.
    pub(crate) async fn connect(self: &Arc<Self>) -> io::Result<(End, End)> {
        sleep(self.latency * 2).await;
        loop {
            let changed = self.changed.notified();
            let reach = self.lock().reach;
            match reach {
                Reach::Accepts => return Ok(self.link()),
                Reach::NoPort => return Err(io::ErrorKind::AddrNotAvailable.into()),
                Reach::Refuses => return Err(io::ErrorKind::ConnectionRefused.into()),
                Reach::Cut => changed.await,
            }
        }
    }

    pub(crate) fn accept(&self) {
        self.set(Reach::Accepts);
    }

    pub(crate) fn refuse(&self) {
        self.set(Reach::Refuses);
    }

    pub(crate) fn exhaust_ports(&self) {
        self.set(Reach::NoPort);
    }

    pub(crate) fn cut(&self) {
        self.set(Reach::Cut);
    }

    /// Resets every connection.
    pub(crate) fn reset(&self) {
        for link in self.links() {
            link.lock().is_reset = true;
            link.wake();
        }
    }

    fn set(&self, reach: Reach) {
        self.lock().reach = reach;
        self.changed.notify_waiters();
        for link in self.links() {
            link.wake();
        }
    }

    fn is_cut(&self) -> bool {
        self.lock().reach == Reach::Cut
    }

    fn link(self: &Arc<Self>) -> (End, End) {
        let link = Arc::new(Link::new(self.latency, self.reads, Some(Arc::clone(self))));
        let mut state = self.lock();
        if state.links.len() >= state.prune_at {
            state.links.retain(|link| link.strong_count() > 0);
            state.prune_at = state.links.len() * 2 + 64;
        }
        state.links.push(Arc::downgrade(&link));
        Link::ends(link)
    }

    fn links(&self) -> Vec<Arc<Link>> {
        self.lock().links.iter().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, WireState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    fn new(latency: Duration, reads: Reads, wire: Option<Arc<Wire>>) -> Self {
        Self {
            latency,
            reads,
            wire,
            state: Mutex::default(),
        }
    }

    fn ends(link: Arc<Self>) -> (End, End) {
        let end = |link, side| End {
            link,
            side,
            nap: None,
        };
        (end(Arc::clone(&link), 0), end(link, 1))
    }

    fn is_cut(&self) -> bool {
        self.wire.as_ref().is_some_and(|wire| wire.is_cut())
    }

    fn wake(&self) {
        for pipe in &mut self.lock().pipes {
            wake(&mut pipe.reader);
            wake(&mut pipe.writer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipe {
    /// Moves the bytes that have arrived; else returns when the next will, if any is on its way.
    fn take(
        &mut self,
        now: Instant,
        buf: &mut ReadBuf<'_>,
        most: usize,
    ) -> Result<(), Option<Instant>> {
        let before = buf.filled().len();
        while let Some(chunk) = self.chunks.front_mut() {
            let room = buf.remaining().min(most - (buf.filled().len() - before));
            if chunk.arrives > now || room == 0 {
                break;
            }
            let len = room.min(chunk.bytes.len() - chunk.read);
            buf.put_slice(&chunk.bytes[chunk.read..chunk.read + len]);
            chunk.read += len;
            self.len -= len;
            if chunk.read == chunk.bytes.len() {
                self.chunks.pop_front();
            }
        }
        if buf.filled().len() > before {
            wake(&mut self.writer);
            return Ok(());
        }
        match self.chunks.front().map(|chunk| chunk.arrives) {
            Some(arrives) => Err(Some(arrives)),
            None if self.ends.is_some_and(|ends| ends <= now) => Ok(()),
            None => Err(self.ends),
        }
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let (is_cut, most) = (self.link.is_cut(), self.link.reads.next());
            let mut state = self.link.lock();
            if state.is_reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let pipe = &mut state.pipes[1 - self.side];
            pipe.reader = Some(cx.waker().clone());
            if is_cut {
                return Poll::Pending;
            }
            let arrives = match pipe.take(Instant::now(), buf, most) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(None) => return Poll::Pending,
                Err(Some(arrives)) => arrives,
            };
            drop(state);
            let nap = self
                .nap
                .get_or_insert_with(|| Box::pin(sleep_until(arrives)));
            if nap.deadline() != arrives {
                nap.as_mut().reset(arrives);
            }
            std::task::ready!(nap.as_mut().poll(cx));
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let is_cut = self.link.is_cut();
        let mut state = self.link.lock();
        let is_reset = state.is_reset;
        let pipe = &mut state.pipes[self.side];
        // An end whose peer is gone learns of it only while the wire is not cut.
        if is_reset || pipe.ends.is_some() || pipe.reader_is_gone && !is_cut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if pipe.len >= CAPACITY {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.len += bytes.len();
        pipe.chunks.push_back(Chunk {
            arrives: Instant::now() + self.link.latency,
            bytes: bytes.to_vec(),
            read: 0,
        });
        wake(&mut pipe.reader);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut();
        Poll::Ready(Ok(()))
    }
}

impl End {
    fn shut(&self) {
        let mut state = self.link.lock();
        let pipe = &mut state.pipes[self.side];
        pipe.ends
            .get_or_insert_with(|| Instant::now() + self.link.latency);
        wake(&mut pipe.reader);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.shut();
        let mut state = self.link.lock();
        let pipe = &mut state.pipes[1 - self.side];
        pipe.reader_is_gone = true;
        pipe.chunks.clear();
        wake(&mut pipe.writer);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

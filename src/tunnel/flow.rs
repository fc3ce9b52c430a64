//! One direction of a tunnel. The tunnel has two; this is the only pump.

use std::{
    io,
    pin::Pin,
    task::{Poll, ready},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::{frame::EncodedControl, tunnel::report::DirectionStats};

use super::{
    context::FlowContext,
    leg::Leg,
    pair::LegId,
    scratch::Scratch,
    track::{Breach, Track},
};

/// Reads of one direction in one poll, so that a busy direction leaves room for other tasks.
/// Sockets have tokio's own budget; this is for streams that have none.
const MAX_ROUNDS: usize = 16;

/// One direction: from a source leg to a sink leg.
pub(super) struct Flow {
    /// The leg of the sink.
    to: LegId,
    source: Source,
    sink: Sink,
    track: Track,
    /// Exists only while the sink stalls.
    leftover: Option<Box<Leftover>>,
    /// Exists only while there are bytes to be read (again) before the source is asked for more.
    held: Option<Box<Held>>,
    /// Whether the sink stands between two frames once the leftover is delivered.
    sink_at_boundary: bool,
    needs_flush: bool,
    /// Whether anything was read that the registry has not been told of.
    has_news: bool,
    bytes: u64,
    /// When bytes last passed; our own frames and the pongs to them are not counted.
    last_passed: Instant,
}

/// What the source still gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Open,
    /// It ended; what it gave is being delivered.
    Ending,
    Ended,
}

/// What the sink still gets.
enum Sink {
    Open,
    /// A close frame of ours waits for a frame boundary.
    Closing(Box<EncodedControl>),
    /// A close frame of ours was the last it gets.
    Closed,
    ShuttingDown,
    Done,
}

/// Bytes that the source gave and the sink has not taken.
#[derive(Default)]
struct Leftover {
    bytes: Vec<u8>,
    delivered: usize,
    /// Since when the sink has taken none of it.
    stalled_since: Option<Instant>,
}

/// What was read ahead of the tunnel, or a frame's beginning that waits for its rest.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    /// Whether some of it was never read.
    is_new: bool,
}

/// What a direction has to say to the tunnel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// The source ended in order, and all it gave is delivered.
    Ended,
    /// The source's connection broke.
    SourceFailed(io::ErrorKind),
    /// The sink's connection broke.
    SinkFailed(io::ErrorKind),
    /// The source broke a rule.
    Breach(Breach),
    /// The sink has got all it will get.
    Done,
}

impl Flow {
    pub(super) fn new(to: LegId, track: Track, read_ahead: Vec<u8>, now: Instant) -> Self {
        Self {
            to,
            source: Source::Open,
            sink: Sink::Open,
            sink_at_boundary: !track.is_opaque(),
            track,
            leftover: None,
            held: Held::unread(read_ahead),
            needs_flush: false,
            has_news: false,
            bytes: 0,
            last_passed: now,
        }
    }

    /// Moves what can be moved.
    pub(super) fn poll(
        &mut self,
        cx: &mut FlowContext<'_, '_>,
        scratch: &mut Scratch,
    ) -> Poll<Event> {
        for _ in 0..MAX_ROUNDS {
            if let Err(error) = ready!(self.poll_sink(cx)) {
                self.abandon_sink();
                return Poll::Ready(Event::SinkFailed(error.kind()));
            }
            if matches!(self.sink, Sink::ShuttingDown) {
                // A peer that is gone already makes it fail; it has got all it will get.
                let _ = ready!(Pin::new(&mut cx.sink.transport).poll_shutdown(cx.task));
                self.sink = Sink::Done;
                return Poll::Ready(Event::Done);
            }
            match self.source {
                Source::Open => {}
                // Ending => Ended: what it gave has been delivered.
                Source::Ending => {
                    self.source = Source::Ended;
                    return Poll::Ready(Event::Ended);
                }
                Source::Ended => return self.poll_flush(cx),
            }
            match self.poll_source(cx, scratch) {
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Ok(Some(event))) => return Poll::Ready(event),
                Poll::Ready(Err(SideError::Source(error))) => {
                    self.source = Source::Ended;
                    return Poll::Ready(Event::SourceFailed(error.kind()));
                }
                Poll::Ready(Err(SideError::Sink(error))) => {
                    self.abandon_sink();
                    return Poll::Ready(Event::SinkFailed(error.kind()));
                }
                Poll::Pending => return self.poll_flush(cx),
            }
        }
        cx.task.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ends the sink's side in order once everything is delivered.
    pub(super) fn shut_down(&mut self) {
        if !matches!(self.sink, Sink::Done) {
            self.sink = Sink::ShuttingDown;
        }
    }

    /// Sends the sink a close frame of ours at the next frame boundary, and nothing after it.
    pub(super) fn close(&mut self, frame: EncodedControl) {
        if matches!(self.sink, Sink::Open) {
            self.sink = if self.track.has_closed() {
                // What the source sent behind its own was void, and may offer no boundary.
                Sink::Closed
            } else {
                Sink::Closing(Box::new(frame))
            };
        }
    }

    /// Gives up on both ends; nothing more is moved.
    pub(super) fn abandon(&mut self) {
        self.abandon_sink();
        self.abandon_source();
    }

    /// Gives up on the sink. What the source still sends goes nowhere.
    pub(super) fn abandon_sink(&mut self) {
        self.sink = Sink::Done;
        self.leftover = None;
        self.needs_flush = false;
    }

    /// Whether a close frame can reach the sink: it stands at a frame boundary, or `source` can
    /// still bring it to one.
    pub(super) fn can_close(&self) -> bool {
        self.track.has_closed()
            || self.sink_at_boundary
            || (self.source == Source::Open && !self.track.is_opaque())
    }

    /// Whether our close frame, or an endpoint's, was the last that the sink gets.
    pub(super) const fn sink_is_closed(&self) -> bool {
        matches!(self.sink, Sink::Closed)
    }

    /// Whether a close frame of ours still waits for its boundary.
    pub(super) const fn sink_is_closing(&self) -> bool {
        matches!(self.sink, Sink::Closing(_))
    }

    pub(super) const fn sink_is_done(&self) -> bool {
        matches!(self.sink, Sink::Done)
    }

    /// Whether the source has said its last: a whole close frame, or its end.
    pub(super) fn source_is_finished(&self) -> bool {
        self.source_has_ended() || self.track.has_closed()
    }

    pub(super) fn source_has_ended(&self) -> bool {
        self.source != Source::Open
    }

    pub(super) const fn track(&self) -> &Track {
        &self.track
    }

    pub(super) const fn sink_at_boundary(&self) -> bool {
        self.sink_at_boundary
    }

    pub(super) const fn last_passed(&self) -> Instant {
        self.last_passed
    }

    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.leftover.as_ref()?.stalled_since
    }

    /// Gives up on the source.
    pub(super) fn abandon_source(&mut self) {
        self.source = Source::Ended;
        self.held = None;
    }

    /// Puts bytes in front of what is read next.
    pub(super) fn read_again(&mut self, bytes: &[u8]) {
        let mut all = self.held.take().map_or_else(Vec::new, |held| held.bytes);
        all.extend_from_slice(bytes);
        self.held = Held::unread(all);
    }

    /// Takes out what was put in front.
    pub(super) fn into_held(self) -> Bytes {
        self.held.map_or_else(Bytes::new, |held| held.bytes.into())
    }

    /// Whether the figures, or those of the source's leg, changed since the last call.
    pub(super) const fn take_news(&mut self) -> bool {
        std::mem::replace(&mut self.has_news, false)
    }

    pub(super) const fn passed_bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that are held in memory for this direction.
    pub(super) fn buffered(&self) -> usize {
        let leftover = self.leftover.as_ref().map_or(0, |it| it.bytes.capacity());
        leftover + self.held.as_ref().map_or(0, |held| held.bytes.capacity())
    }

    pub(super) fn passed(&self) -> DirectionStats {
        DirectionStats {
            bytes: self.bytes,
            frames: self.track.counts(),
            close: self.track.close_seen(),
            opaque: self.track.is_opaque(),
        }
    }

    /// Delivers the leftover, then what the proxy itself has to say at this boundary.
    fn poll_sink(&mut self, cx: &mut FlowContext<'_, '_>) -> Poll<io::Result<()>> {
        ready!(self.poll_deliver(cx))?;
        if self.sink_at_boundary {
            if let Some(frame) = self.own_frame(cx) {
                self.forward(cx, &frame)?;
                return self.poll_deliver(cx);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_deliver(&mut self, cx: &mut FlowContext<'_, '_>) -> Poll<io::Result<()>> {
        while let Some(leftover) = &mut self.leftover {
            match Pin::new(&mut cx.sink.transport).poll_write(cx.task, leftover.rest()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.needs_flush = true;
                    leftover.stalled_since = None;
                    leftover.delivered += written;
                    if leftover.rest().is_empty() {
                        self.leftover = None;
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    leftover.stalled_since.get_or_insert(cx.clock.now());
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The frame of ours that is due at a boundary. Nothing may follow a close frame, ours or an
    /// endpoint's (RFC 6455 §5.5.1).
    fn own_frame(&mut self, cx: &mut FlowContext<'_, '_>) -> Option<EncodedControl> {
        match &self.sink {
            Sink::Closing(frame) => {
                let frame = (!self.track.is_closing()).then_some(**frame);
                self.sink = Sink::Closed;
                frame
            }
            Sink::Open if !self.track.is_closing() && cx.sink.wants_ping() => {
                cx.sink.ping(self.to, cx.clock.now())
            }
            _ => None,
        }
    }

    /// Reads once and forwards what may be forwarded. `None` says: again.
    fn poll_source(
        &mut self,
        cx: &mut FlowContext<'_, '_>,
        scratch: &mut Scratch,
    ) -> Poll<Result<Option<Event>, SideError>> {
        let mut buf = scratch.read_buf();
        let held = self.held.as_deref();
        let shown_again = held.map_or(0, |held| held.show(&mut buf));
        let is_new = held.is_some_and(|held| held.is_new);
        if !is_new && buf.remaining() > 0 {
            let result = ready!(Pin::new(&mut cx.source.transport).poll_read(cx.task, &mut buf));
            result.map_err(SideError::Source)?;
            if buf.filled().len() == shown_again {
                return Poll::Ready(self.end_source(cx).map(|()| None));
            }
        }
        let now = cx.clock.now();
        cx.source.last_received = now;
        self.has_news = true;
        self.held = self.held.take().and_then(|held| held.behind(shown_again));
        let chunk = buf.filled_mut();
        if self.is_discarding() {
            self.track.read_discarded(chunk);
            return Poll::Ready(Ok(None));
        }
        let breach = self.pass(cx, chunk).map_err(SideError::Sink)?;
        Poll::Ready(Ok(breach.map(Event::Breach)))
    }

    /// Forwards a chunk as far as the frames in it allow.
    fn pass(
        &mut self,
        cx: &mut FlowContext<'_, '_>,
        chunk: &mut [u8],
    ) -> io::Result<Option<Breach>> {
        let now = cx.clock.now();
        let was_opaque = self.track.is_opaque();
        let verdict = self.track.read(chunk, cx.source.pinger.as_deref_mut(), now);
        if self.track.is_opaque() && !was_opaque {
            cx.sink.lose_pings();
        }
        let (forward, rest) = chunk.split_at(verdict.forward.min(chunk.len()));
        if let Some(held) = rest.get(..verdict.hold).filter(|held| !held.is_empty()) {
            let held = Held::in_front_of(self.held.take(), held);
            self.held = Some(Box::new(held));
        }
        if !forward.is_empty() {
            self.bytes += forward.len() as u64;
            self.last_passed = now;
        }
        let stands_at_boundary =
            verdict.hold > 0 || verdict.breach.is_some() || self.track.at_boundary();
        match verdict.boundary.filter(|_| !stands_at_boundary) {
            Some(boundary) if self.wants_boundary(cx.sink) => {
                let (before, after) = forward.split_at(boundary.min(forward.len()));
                self.forward_around(cx, before, after)?;
            }
            _ => self.forward(cx, forward)?,
        }
        // A header that makes no sense is a breach where rules are enforced: the place is lost
        // behind it, but the sink got nothing of it. Nor of what was dropped behind our close.
        self.sink_at_boundary = self.sink_is_closed()
            || stands_at_boundary && (verdict.breach.is_some() || !self.track.is_opaque());
        Ok(verdict.breach)
    }

    fn wants_boundary(&self, sink: &Leg) -> bool {
        !self.track.is_closing() && (self.sink_is_closing() || sink.wants_ping())
    }

    /// Forwards a chunk with a frame of ours between two of its frames; a stream of frames that
    /// are larger than a chunk may offer no other place. If ours is a close, the rest is dropped.
    fn forward_around(
        &mut self,
        cx: &mut FlowContext<'_, '_>,
        before: &[u8],
        after: &[u8],
    ) -> io::Result<()> {
        let own = self.own_frame(cx);
        let own = own.as_deref().unwrap_or_default();
        let after = if self.sink_is_closed() { &[] } else { after };
        self.forward(cx, &[before, own, after].concat())
    }

    /// Hands bytes to the sink; what it does not take at once becomes the leftover.
    fn forward(&mut self, cx: &mut FlowContext<'_, '_>, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() && self.leftover.is_none() {
            match Pin::new(&mut cx.sink.transport).poll_write(cx.task, bytes) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    self.needs_flush = true;
                    bytes = bytes.get(written..).unwrap_or_default();
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        if !bytes.is_empty() {
            let leftover = self.leftover.get_or_insert_default();
            leftover.bytes.extend_from_slice(bytes);
            leftover.stalled_since.get_or_insert(cx.clock.now());
        }
        Ok(())
    }

    /// The source ended: a frame's beginning that waited for its rest goes out as it is.
    fn end_source(&mut self, cx: &mut FlowContext<'_, '_>) -> Result<(), SideError> {
        self.source = Source::Ending;
        if let Some(held) = self.held.take().filter(|_| !self.is_discarding()) {
            self.sink_at_boundary = false;
            self.has_news = true;
            self.bytes += held.bytes.len() as u64;
            self.forward(cx, &held.bytes).map_err(SideError::Sink)?;
        }
        Ok(())
    }

    const fn is_discarding(&self) -> bool {
        matches!(self.sink, Sink::Closed | Sink::ShuttingDown | Sink::Done)
    }

    /// Nothing is left to move: sees to it that a stream which buffers has sent all. Always
    /// pending: an error shows at the next write.
    fn poll_flush(&mut self, cx: &mut FlowContext<'_, '_>) -> Poll<Event> {
        if self.needs_flush {
            if cx.sink.transport.buffers_writes() {
                let _ = ready!(Pin::new(&mut cx.sink.transport).poll_flush(cx.task));
            }
            self.needs_flush = false;
        }
        Poll::Pending
    }
}

/// Which of the two connections broke.
enum SideError {
    Source(io::Error),
    Sink(io::Error),
}

impl Leftover {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.delivered..).unwrap_or_default()
    }
}

impl Held {
    /// Bytes that were never read, if there are any.
    fn unread(bytes: Vec<u8>) -> Option<Box<Self>> {
        let held = Self {
            bytes,
            is_new: true,
        };
        (!held.bytes.is_empty()).then(|| Box::new(held))
    }

    /// A frame's beginning, with what is behind it.
    fn in_front_of(behind: Option<Box<Self>>, beginning: &[u8]) -> Self {
        let behind = behind.map(|held| held.bytes);
        Self {
            is_new: behind.is_some(),
            bytes: [beginning, behind.as_deref().unwrap_or_default()].concat(),
        }
    }

    /// Fills the buffer with the bytes, as far as they fit; how many.
    fn show(&self, buf: &mut ReadBuf<'_>) -> usize {
        let shown = self.bytes.len().min(buf.remaining());
        buf.put_slice(self.bytes.get(..shown).unwrap_or_default());
        shown
    }

    /// What is left behind the bytes that were shown; it was never read.
    fn behind(&self, shown: usize) -> Option<Box<Self>> {
        Self::unread(self.bytes.get(shown..).unwrap_or_default().to_vec())
    }
}

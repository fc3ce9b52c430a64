//! The sink's side of a direction.

use std::{
    io,
    pin::Pin,
    task::{Poll, ready},
};

use tokio::io::AsyncWrite;

use crate::{
    frame::EncodedControl,
    tunnel::{context::FlowContext, leg::Leg},
};

use super::pump::{Event, Flow, Notice, Sink};

/// How often the read buffer is halved at most: 64 KiB to 4.
const MAX_BACKOFF: u8 = 4;

impl Flow {
    /// Delivers what the sink has not taken, and then what the proxy itself has to say there.
    pub(super) fn poll_sink(&mut self, cx: &mut FlowContext<'_, '_>) -> Poll<io::Result<()>> {
        if self.outgoing.is_some() {
            ready!(self.poll_deliver(cx))?;
        }
        match self.sink {
            Sink::Open | Sink::Closing if self.sink_at_boundary => {
                if let Some(frame) = self.own_frame(cx) {
                    self.forward_own(cx, &frame)?;
                    if self.has_leftover() {
                        return Poll::Pending;
                    }
                }
            }
            Sink::ShuttingDown => {
                // A peer that is gone already makes it fail; it has got all it will get.
                let shut = Pin::new(&mut cx.sink.transport).poll_shutdown(cx.task);
                if shut.is_pending() {
                    self.note_stall(cx);
                    return Poll::Pending;
                }
                self.outgoing = None;
                self.needs_flush = false;
                self.sink = Sink::ShutDown;
            }
            _ => {}
        }
        Poll::Ready(Ok(()))
    }

    fn poll_deliver(&mut self, cx: &mut FlowContext<'_, '_>) -> Poll<io::Result<()>> {
        let Some(outgoing) = self.outgoing.as_mut().filter(|it| !it.rest().is_empty()) else {
            return Poll::Ready(Ok(()));
        };
        while !outgoing.rest().is_empty() {
            let written = Pin::new(&mut cx.sink.transport).poll_write(cx.task, outgoing.rest());
            match written {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.needs_flush = true;
                    outgoing.take(written, cx.clock.now());
                    if let Some(since) = outgoing.stalled_since.take() {
                        // The source was not read for so long, which is not its doing.
                        let stall = cx.clock.now().saturating_duration_since(since);
                        self.track.make_up_for(stall);
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    outgoing.stalled_since.get_or_insert(cx.clock.now());
                    return Poll::Pending;
                }
            }
        }
        if outgoing.is_empty() {
            self.outgoing = None;
        }
        cx.sink.delivered(cx.clock.now());
        Poll::Ready(Ok(()))
    }

    /// The frame of ours that is due at a boundary. Nothing may follow a close frame, ours or an
    /// endpoint's (RFC 6455 §5.5.1).
    fn own_frame(&mut self, cx: &mut FlowContext<'_, '_>) -> Option<EncodedControl> {
        match self.sink {
            Sink::Closing => {
                self.sink = Sink::Sealed;
                let mut outgoing = self.outgoing.take()?;
                let frame = outgoing.close.take();
                self.outgoing = Some(outgoing).filter(|it| !it.is_empty());
                if self.track.is_closing() {
                    return None;
                }
                self.close_given = Notice::Due;
                frame
            }
            Sink::Open if self.wants_ping(cx.sink) => cx.sink.ping(cx.sink_id, cx.clock.now()),
            _ => None,
        }
    }

    /// Whether a ping may be put where the sink stands, a boundary given.
    fn wants_ping(&self, sink: &Leg) -> bool {
        sink.wants_ping()
            && !self.track.is_closing()
            && !(sink.spares_messages() && self.track.in_message())
    }

    /// Whether a frame of ours looks for a boundary.
    pub(super) fn wants_boundary(&self, sink: &Leg) -> bool {
        !self.track.is_closing() && (self.sink == Sink::Closing || sink.wants_ping())
    }

    /// Whether the frame of ours that looks for a boundary may stand where the source is now.
    pub(super) fn may_follow(&self, sink: &Leg) -> bool {
        self.sink == Sink::Closing || !(sink.spares_messages() && self.track.in_message())
    }

    /// Forwards a chunk with a frame of ours between two of its frames; a stream of frames that
    /// are larger than a chunk may offer no other place. If ours is a close, the rest is dropped.
    /// How many bytes of the source were forwarded.
    pub(super) fn forward_around(
        &mut self,
        cx: &mut FlowContext<'_, '_>,
        before: &[u8],
        after: &[u8],
    ) -> io::Result<usize> {
        let own = match self.sink {
            Sink::Closing => self.own_frame(cx),
            _ => cx.sink.ping(cx.sink_id, cx.clock.now()),
        };
        let own = own.as_deref().unwrap_or_default();
        let after = if self.sink == Sink::Sealed {
            &[]
        } else {
            after
        };
        self.forward_own(cx, &[before, own, after].concat())?;
        Ok(before.len() + after.len())
    }

    /// Hands bytes to the sink, a frame of ours among them.
    fn forward_own(&mut self, cx: &mut FlowContext<'_, '_>, bytes: &[u8]) -> io::Result<()> {
        self.forward(cx, bytes)?;
        if self.sink == Sink::Open && self.has_leftover() {
            cx.sink.queue_ping();
        }
        Ok(())
    }

    /// Hands bytes to the sink; what it does not take at once waits.
    pub(super) fn forward(
        &mut self,
        cx: &mut FlowContext<'_, '_>,
        mut bytes: &[u8],
    ) -> io::Result<()> {
        cx.sink.note_sent(bytes.len());
        let mut is_free = !self.has_leftover();
        while is_free && !bytes.is_empty() {
            match Pin::new(&mut cx.sink.transport).poll_write(cx.task, bytes) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    self.needs_flush = true;
                    bytes = bytes.get(written..).unwrap_or_default();
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => is_free = false,
            }
        }
        if !bytes.is_empty() {
            self.backoff = (self.backoff + 2).min(MAX_BACKOFF);
            self.outgoing.get_or_insert_default().push(bytes);
            self.note_stall(cx);
        }
        Ok(())
    }

    /// Nothing is left to move: sees to it that a stream which buffers has sent all. Always
    /// pending: an error shows at the next write.
    pub(super) fn poll_flush(&mut self, cx: &mut FlowContext<'_, '_>) -> Poll<Event> {
        if self.needs_flush {
            if cx.sink.transport.buffers_writes() {
                let flushed = Pin::new(&mut cx.sink.transport).poll_flush(cx.task);
                if flushed.is_pending() {
                    self.note_stall(cx);
                    return Poll::Pending;
                }
                self.end_flush_stall();
            }
            self.needs_flush = false;
        }
        Poll::Pending
    }

    /// The sink takes nothing, or does not send what it took.
    fn note_stall(&mut self, cx: &mut FlowContext<'_, '_>) {
        let outgoing = self.outgoing.get_or_insert_default();
        outgoing.stalled_since.get_or_insert(cx.clock.now());
    }

    fn end_flush_stall(&mut self) {
        if let Some(mut outgoing) = self.outgoing.take() {
            outgoing.stalled_since = None;
            self.outgoing = Some(outgoing).filter(|it| !it.is_empty());
        }
    }
}

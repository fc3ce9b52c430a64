//! Sink's side of a direction.

use std::{
    io,
    pin::Pin,
    task::{Poll, ready},
};

use tokio::io::AsyncWrite;

use crate::{
    frame::EncodedControl,
    tunnel::{context::FlowContext, leg::Leg, pair::LegId, reattach::Filter},
};

use super::pump::{Event, Flow, Notice, Sink};

/// Most halvings of the read buffer: 256 KiB to 4.
const MAX_BACKOFF: u8 = 6;

impl Flow {
    /// Delivers the outgoing bytes, then a ping or close frame of ours if one is due, or shuts the
    /// sink down.
    pub(super) fn poll_sink(&mut self, cx: &mut FlowContext<'_, '_>) -> Poll<io::Result<()>> {
        if self.outgoing.is_some() {
            ready!(self.poll_deliver(cx))?;
        }
        match self.sink {
            Sink::Open | Sink::Closing if self.sink_at_boundary && self.has_own_frame(cx.sink) => {
                if let Some(frame) = self.own_frame(cx) {
                    self.mark_position(cx);
                    self.forward_own(cx, &frame)?;
                    if self.has_leftover() {
                        return Poll::Pending;
                    }
                }
            }
            Sink::Leaving => return self.poll_leave(cx),
            Sink::ShuttingDown => {
                // An error means that the peer is gone already, which ends the sink as well.
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
        if self.sink == Sink::Detached {
            return match self.is_full() {
                true => Poll::Pending,
                false => Poll::Ready(Ok(())),
            };
        }
        let Some(outgoing) = self.outgoing.as_mut().filter(|it| !it.rest().is_empty()) else {
            return Poll::Ready(Ok(()));
        };
        while !outgoing.rest().is_empty() {
            let written = Pin::new(&mut cx.sink.transport).poll_write(cx.task, outgoing.rest());
            match written {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.needs_flush = true;
                    note_delivered(&mut cx.filter, cx.sink_id, outgoing.source_among(written));
                    outgoing.take(written, cx.clock.now());
                    if let Some(since) = outgoing.stalled_since.take() {
                        // The source was not read for so long, which is not its doing.
                        let now = cx.clock.now();
                        let stall = now.saturating_duration_since(since);
                        self.track.credit_time(stall, now);
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

    /// Whether a frame of ours is due at a boundary.
    #[inline]
    fn has_own_frame(&self, sink: &Leg) -> bool {
        self.sink == Sink::Closing || self.wants_ping(sink)
    }

    /// Returns the frame of ours that is due at a boundary. Nothing may follow a close frame, ours
    /// or an endpoint's (RFC 6455 §5.5.1).
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
                self.close_handed = Notice::Due;
                frame
            }
            Sink::Open if self.wants_ping(cx.sink) => cx.sink.ping(cx.sink_id, cx.clock.now()),
            _ => None,
        }
    }

    /// Whether a ping may be sent now, if the sink is at a frame boundary.
    #[inline]
    fn wants_ping(&self, sink: &Leg) -> bool {
        sink.wants_ping()
            && !self.track.is_closing()
            && !(sink.waits_for_message_end() && self.track.in_message())
    }

    /// Whether a frame of ours waits for a boundary.
    pub(super) fn wants_boundary(&self, sink: &Leg) -> bool {
        !self.track.is_closing() && (self.sink == Sink::Closing || sink.wants_ping())
    }

    /// Whether the frame of ours that waits for a boundary may follow the bytes scanned so far.
    pub(super) fn may_follow(&self, sink: &Leg) -> bool {
        self.sink == Sink::Closing || !(sink.waits_for_message_end() && self.track.in_message())
    }

    /// Forwards a chunk with a frame of ours between two of its frames; a stream of frames that
    /// are larger than a chunk may have no other boundary. If ours is a close, the rest is dropped.
    /// Returns how many bytes of the source were forwarded.
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

    /// Hands bytes to the sink, and keeps those that it does not take at once.
    pub(super) fn forward(&mut self, cx: &mut FlowContext<'_, '_>, bytes: &[u8]) -> io::Result<()> {
        if self.sink == Sink::Detached {
            self.outgoing.get_or_insert_default().push(bytes);
            return Ok(());
        }
        cx.sink.note_sent(bytes.len());
        let mut rest = bytes;
        let mut is_free = !self.has_leftover();
        while is_free && !rest.is_empty() {
            let error = match Pin::new(&mut cx.sink.transport).poll_write(cx.task, rest) {
                Poll::Ready(Ok(0)) => io::ErrorKind::WriteZero.into(),
                Poll::Ready(Ok(written)) => {
                    self.needs_flush = true;
                    rest = rest.get(written..).unwrap_or_default();
                    continue;
                }
                Poll::Ready(Err(error)) => error,
                Poll::Pending => {
                    is_free = false;
                    continue;
                }
            };
            note_delivered(&mut cx.filter, cx.sink_id, taken(bytes, rest));
            self.keep(cx, bytes, rest);
            return Err(error);
        }
        note_delivered(&mut cx.filter, cx.sink_id, taken(bytes, rest));
        if !rest.is_empty() {
            self.backoff = (self.backoff + 2).min(MAX_BACKOFF);
            self.keep(cx, bytes, rest);
            self.note_stall(cx);
        }
        Ok(())
    }

    /// Keeps the rest of the forwarded bytes, which the sink has not taken.
    #[cold]
    fn keep(&mut self, cx: &FlowContext<'_, '_>, forwarded: &[u8], rest: &[u8]) {
        let outgoing = self.outgoing.get_or_insert_default();
        if outgoing.rest().is_empty() {
            outgoing.position = cx.position.map(|mut position| {
                position.advance(taken(forwarded, rest));
                position
            });
        }
        outgoing.push(rest);
    }

    /// Notes the position of the sink before the next bytes, where the tunnel may get another
    /// upstream.
    pub(super) fn mark_position(&self, cx: &mut FlowContext<'_, '_>) {
        if cx.filter.is_some() && cx.sink_id == LegId::Upstream {
            cx.position = Some(self.track.position());
        }
    }

    /// Flushes a stream that buffers, when nothing is left to move. Always pending: an error shows
    /// at the next write.
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

    /// Notes that the sink takes no bytes, or does not flush its buffer.
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

/// The bytes that the sink has taken of those that it was given.
fn taken<'a>(given: &'a [u8], rest: &[u8]) -> &'a [u8] {
    let len = given.len().saturating_sub(rest.len());
    given.get(..len).unwrap_or_default()
}

/// Shows the filter bytes that the sink has taken, where the tunnel may get another upstream.
#[inline]
fn note_delivered(filter: &mut Option<&mut Filter>, sink: LegId, taken: &[u8]) {
    if let (Some(filter), LegId::Upstream) = (filter, sink) {
        filter.note_delivered(taken);
    }
}

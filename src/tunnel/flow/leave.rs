//! The end of a sink's use between two messages, with a close frame of ours, while the source goes on
//! with another sink.

use std::{io, task::Poll};

use bytes::Bytes;

use crate::{frame::EncodedControl, tunnel::context::FlowContext};

use super::{
    held::Held,
    pump::{Event, Flow, Notice, Sink, Source},
};

impl Flow {
    /// Reads no more than the message under way, until [`leave_sink`](Self::leave_sink) or
    /// [`stay_with_sink`](Self::stay_with_sink).
    pub(in crate::tunnel) fn pause_after_message(&mut self) {
        if self.sink == Sink::Open {
            self.sink = Sink::Leaving;
        }
    }

    /// Whether the sink has the last message, and the source is not read.
    pub(in crate::tunnel) fn is_paused(&self) -> bool {
        self.source == Source::Paused
    }

    /// Sends the sink a close frame of ours at the end of the message under way, and reads nothing of
    /// the next one. [`Event::CloseHanded`] follows once the sink has the frame.
    pub(in crate::tunnel) fn leave_sink(&mut self, frame: EncodedControl) {
        if matches!(self.sink, Sink::Open | Sink::Leaving) {
            self.sink = Sink::Leaving;
            self.outgoing.get_or_insert_default().close = Some(frame);
            self.end_pause();
        }
    }

    /// Whether the sink was given our close frame, of which it may have taken a part. Nothing may
    /// follow that one (RFC 6455 §5.5.1).
    pub(in crate::tunnel) fn has_left_sink(&self) -> bool {
        self.sink == Sink::Leaving && self.close_handed == Notice::Due
    }

    /// Takes back a close frame of ours, which was for this sink alone.
    pub(super) fn take_back_close(&mut self) {
        if self.sink != Sink::Leaving {
            return;
        }
        if self.close_handed == Notice::Due {
            // All that waits is the rest of the frame.
            self.outgoing = None;
        }
        self.close_handed = Notice::None;
    }

    /// Discards further bytes of the source, if the sink was given our close frame.
    pub(in crate::tunnel) fn seal_left_sink(&mut self) {
        if self.has_left_sink() {
            self.sink = Sink::Sealed;
        }
    }

    /// Goes on with the sink, which must not have been given our close frame.
    pub(in crate::tunnel) fn stay_with_sink(&mut self) {
        if self.sink != Sink::Leaving {
            return;
        }
        self.sink = Sink::Open;
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.close = None;
        }
        self.outgoing.take_if(|outgoing| outgoing.is_empty());
        self.end_pause();
    }

    /// Reads the source again.
    pub(super) fn end_pause(&mut self) {
        if self.source == Source::Paused {
            self.source = Source::Open;
        }
    }

    /// Discards the bytes that are held for another sink, because there will be none. The one that was
    /// left can still be ended.
    pub(in crate::tunnel) fn return_to_left_sink(&mut self) {
        if self.sink == Sink::Detached {
            self.outgoing = None;
            self.sink = Sink::Sealed;
            self.sink_at_boundary = true;
        }
    }

    /// Puts the close frame between two messages, or pauses there.
    pub(super) fn poll_leave(&mut self, cx: &mut FlowContext<'_, '_>) -> Poll<io::Result<()>> {
        if !self.sink_at_boundary || self.track.in_message() || self.track.is_closing() {
            return Poll::Ready(Ok(()));
        }
        let outgoing = self.outgoing.as_mut();
        let Some(frame) = outgoing.and_then(|outgoing| outgoing.close.take()) else {
            if self.close_handed == Notice::None && self.source == Source::Open {
                self.source = Source::Paused;
            }
            return Poll::Ready(Ok(()));
        };
        self.outgoing.take_if(|outgoing| outgoing.is_empty());
        self.mark_position(cx);
        self.close_handed = Notice::Due;
        self.forward(cx, &frame)?;
        match self.has_leftover() {
            true => Poll::Pending,
            false => Poll::Ready(Ok(())),
        }
    }

    /// Forwards a chunk up to the end of the message under way, and keeps the rest unread.
    #[cold]
    pub(super) fn pass_message(
        &mut self,
        cx: &mut FlowContext<'_, '_>,
        chunk: &mut [u8],
        held: Option<Box<Held>>,
        unread: usize,
    ) -> Result<(), Event> {
        let end = self.track.position().message_end(chunk);
        let (message, later) = chunk.split_at_mut(end.min(chunk.len()));
        // The last of the bytes were read now, or else are the first of the unread ones.
        let again = later.len().min(unread);
        let held = held.map(|held| (*held, unread - again));
        let passed = self.pass(cx, message, held);
        if let (0, false) = (again, later.is_empty()) {
            let kept = self.held.get_or_insert_default();
            kept.unread = Bytes::from([&kept.unread, &*later].concat());
        }
        passed
    }
}

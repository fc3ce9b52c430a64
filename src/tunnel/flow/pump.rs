//! State of one direction, and its poll.

use std::{io, task::Poll};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    frame::{CloseCode, EncodedControl},
    tunnel::{
        context::FlowContext,
        pair::LegId,
        reattach::ReattachRefusal,
        scratch::Scratch,
        track::{Breach, Track},
        traffic::DirectionStats,
    },
};

use super::{held::Held, outgoing::Outgoing};

/// Most reads of one direction in one poll, so that a busy direction leaves room for other tasks.
/// Sockets have tokio's own budget; this is for streams that have none.
const MAX_ROUNDS: usize = 16;

/// Most bytes that one direction moves in one poll: both together hold a worker for less than a
/// millisecond.
const MAX_BYTES: usize = 256 * 1024;

/// One direction: from a source leg to a sink leg.
pub(in crate::tunnel) struct Flow {
    pub(super) source: Source,
    pub(super) sink: Sink,
    /// Whether the sink is between two frames once the outgoing bytes are delivered.
    pub(super) sink_at_boundary: bool,
    pub(super) needs_flush: bool,
    /// Whether anything was read that is missing in the registry's figures.
    pub(super) is_unpublished: bool,
    /// Whether a close frame of the source was read.
    pub(super) close_read: Notice,
    /// Whether a close frame was handed to the sink.
    pub(super) close_handed: Notice,
    /// How often the read buffer is halved, because the sink stalled recently.
    pub(super) backoff: u8,
    pub(super) track: Track,
    pub(super) outgoing: Option<Box<Outgoing>>,
    pub(super) held: Option<Box<Held>>,
    pub(super) bytes: u64,
    /// When bytes were last forwarded; our own frames and the pongs to them are not counted.
    pub(super) last_passed: Instant,
}

/// State of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Open,
    /// The source is not read before it is decided whether there will be another sink.
    Paused,
    /// The source ended or broke; its last bytes may still wait for the sink.
    Ended,
}

/// State of the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sink {
    Open,
    /// A close frame of ours waits for a frame boundary.
    Closing,
    /// A close frame of ours waits for the end of a message, after which another sink is to follow.
    Leaving,
    /// The connection is lost or was left, and another one may take its place: bytes of the source
    /// are held, up to a bound.
    Detached,
    /// Bytes of the source are discarded.
    Sealed,
    ShuttingDown,
    /// The sink was shut down, which was not reported yet.
    ShutDown,
    Done,
}

/// State of an event that happens once at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    None,
    Due,
    Reported,
}

/// Event of a direction, reported to the engine.
#[derive(Clone, Copy, Debug)]
pub(in crate::tunnel) enum Event {
    /// A whole close frame of the source was read.
    SourceClosed,
    /// The source ended in order between two frames; its last bytes may still wait for the sink.
    SourceEnded,
    /// The source ended in order inside a frame; its last bytes may still wait for the sink.
    SourceTruncated,
    /// The source's connection broke.
    SourceFailed(io::ErrorKind),
    /// The source broke a rule.
    Breach(Breach),
    /// A close frame of the source waits: it is forwarded only if the tunnel ends with it.
    CloseWithheld(CloseCode),
    /// The source is an upstream with which the client cannot go on, for this reason.
    Unfit(ReattachRefusal),
    /// A close frame was handed to the sink whole.
    CloseHanded,
    /// A frame boundary for a close frame of ours can never be reached.
    BoundaryLost,
    /// The sink was ended in order.
    SinkShut,
    /// The sink's connection broke.
    SinkFailed(io::ErrorKind),
}

impl Flow {
    pub(in crate::tunnel) fn new(track: Track, read_ahead: Bytes, now: Instant) -> Self {
        Self {
            source: Source::Open,
            sink: Sink::Open,
            sink_at_boundary: !track.is_opaque(),
            needs_flush: false,
            is_unpublished: false,
            close_read: Notice::None,
            close_handed: Notice::None,
            backoff: 0,
            track,
            outgoing: None,
            held: Held::read_ahead(read_ahead),
            bytes: 0,
            last_passed: now,
        }
    }

    /// Moves bytes until both ends block or an event must be reported.
    pub(in crate::tunnel) fn poll(
        &mut self,
        cx: &mut FlowContext<'_, '_>,
        scratch: &mut Scratch,
    ) -> Poll<Event> {
        let mut budget = MAX_BYTES;
        for _ in 0..MAX_ROUNDS {
            let is_blocked = match self.poll_sink(cx) {
                Poll::Ready(Ok(())) => false,
                Poll::Ready(Err(error)) => return Poll::Ready(self.fail_sink(cx, &error)),
                Poll::Pending => true,
            };
            if let Some(event) = self.next_event(is_blocked) {
                return Poll::Ready(event);
            }
            // Bytes that are discarded can be read even while the sink blocks.
            let is_readable = self.source == Source::Open && (!is_blocked || self.is_discarding());
            let read = match is_readable {
                true => self.poll_source(cx, scratch),
                false => Poll::Pending,
            };
            match read {
                Poll::Ready(Ok(len)) if len < budget => budget -= len,
                Poll::Ready(Ok(_)) => break,
                Poll::Ready(Err(event)) => return Poll::Ready(event),
                Poll::Pending if is_blocked => return Poll::Pending,
                Poll::Pending => return self.poll_flush(cx),
            }
        }
        cx.task.waker().wake_by_ref();
        Poll::Pending
    }

    /// Returns the event that must be reported before more bytes are moved.
    fn next_event(&mut self, is_blocked: bool) -> Option<Event> {
        if self.close_read == Notice::Due {
            self.close_read = Notice::Reported;
            return Some(Event::SourceClosed);
        }
        if self.close_handed == Notice::Due && !is_blocked && self.sink != Sink::Detached {
            self.close_handed = Notice::Reported;
            return Some(Event::CloseHanded);
        }
        match self.sink {
            Sink::ShutDown => {
                self.sink = Sink::Done;
                Some(Event::SinkShut)
            }
            Sink::Closing if !self.can_close() => Some(Event::BoundaryLost),
            _ => None,
        }
    }

    /// Gives up on the sink, or keeps the bytes for another one.
    #[cold]
    pub(super) fn fail_sink(&mut self, cx: &FlowContext<'_, '_>, error: &io::Error) -> Event {
        let filter = cx.filter.as_ref();
        let is_replaceable = filter.is_some_and(|filter| !filter.has_ended());
        match self.sink {
            Sink::Open | Sink::Leaving if is_replaceable && cx.sink_id == LegId::Upstream => {
                self.lose_sink();
            }
            _ => self.abandon_sink(),
        }
        Event::SinkFailed(error.kind())
    }

    /// Sends the sink a close frame of ours at the next frame boundary, and nothing after it.
    pub(in crate::tunnel) fn close(&mut self, frame: EncodedControl) {
        if self.track.has_passed_close() {
            return self.seal();
        }
        if self.sink == Sink::Open {
            self.sink = Sink::Closing;
            self.outgoing.get_or_insert_default().close = Some(frame);
        }
    }

    /// Discards the bytes of the source from now on.
    pub(in crate::tunnel) fn seal(&mut self) {
        if self.sink == Sink::Open {
            self.sink = Sink::Sealed;
        }
    }

    /// Ends the sink's side in order once everything is delivered.
    pub(in crate::tunnel) fn shut_down(&mut self) {
        if !matches!(self.sink, Sink::ShutDown | Sink::Done) {
            self.sink = Sink::ShuttingDown;
        }
    }

    /// Gives up on the sink. Further bytes of the source are discarded.
    pub(in crate::tunnel) fn abandon_sink(&mut self) {
        self.sink = Sink::Done;
        self.outgoing = None;
        self.needs_flush = false;
    }

    /// Gives up on the source.
    pub(in crate::tunnel) fn abandon_source(&mut self) {
        self.source = Source::Ended;
        self.held = None;
    }

    /// Whether a close frame can reach the sink: the sink is at a frame boundary, or the source can
    /// still bring it to one.
    pub(in crate::tunnel) fn can_close(&self) -> bool {
        self.track.has_passed_close()
            || self.sink_at_boundary
            || (self.source == Source::Open && !self.track.is_opaque())
    }

    /// Whether the sink can be pinged, or whether it is known that a frame must end first.
    pub(in crate::tunnel) fn can_ping(&self) -> bool {
        self.sink == Sink::Open && !self.track.has_passed_close() && !self.track.is_opaque()
    }

    /// Whether the source can be expected to answer a ping: it is being read, and has not closed or
    /// ended.
    pub(in crate::tunnel) fn can_answer(&self) -> bool {
        self.source == Source::Open
            && !self.track.has_closed()
            && !self.track.is_opaque()
            && !self.is_full()
            && self.pause().is_none()
    }

    pub(in crate::tunnel) const fn track(&self) -> &Track {
        &self.track
    }

    pub(in crate::tunnel) const fn last_passed(&self) -> Instant {
        self.last_passed
    }

    /// When the sink last took bytes, as far as that is known: from the source at once, or of those
    /// that wait.
    pub(in crate::tunnel) fn last_taken(&self) -> Instant {
        let outgoing = self.outgoing.as_ref();
        let taken = outgoing.and_then(|outgoing| outgoing.last_taken());
        taken.map_or(self.last_passed, |taken| taken.max(self.last_passed))
    }

    /// Whether the source is not read: because of a limit, or of what the sink has not taken.
    pub(in crate::tunnel) fn is_unread(&self) -> bool {
        self.pause().is_some() || self.is_blocked()
    }

    /// Whether the source is not read because of bytes that the sink has not taken.
    pub(in crate::tunnel) fn is_blocked(&self) -> bool {
        self.is_full() && !self.is_discarding()
    }

    /// Has a stall of the sink begin now, if there is one.
    pub(in crate::tunnel) fn restart_stall(&mut self, now: Instant) {
        let outgoing = self.outgoing.as_mut();
        if let Some(since) = outgoing.and_then(|outgoing| outgoing.stalled_since.as_mut()) {
            *since = now;
        }
    }

    /// Since when the sink has taken none of the bytes that wait for it.
    pub(in crate::tunnel) fn stalled_since(&self) -> Option<Instant> {
        self.outgoing.as_ref()?.stalled_since
    }

    /// The number of bytes that the sink has taken, if others still wait for it.
    pub(in crate::tunnel) fn backlog(&self) -> Option<u64> {
        let outgoing = self.outgoing.as_ref()?;
        (!outgoing.rest().is_empty()).then(|| outgoing.taken())
    }

    /// Whether the figures, or those of the source's leg, changed since the last call.
    pub(in crate::tunnel) const fn take_unpublished(&mut self) -> bool {
        std::mem::replace(&mut self.is_unpublished, false)
    }

    pub(in crate::tunnel) const fn passed_bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that are held in memory for this direction.
    pub(in crate::tunnel) fn buffered(&self) -> usize {
        let outgoing = self.outgoing.as_ref().map_or(0, |it| it.capacity());
        outgoing + self.held.as_ref().map_or(0, |held| held.len())
    }

    pub(in crate::tunnel) fn passed(&self) -> DirectionStats {
        DirectionStats {
            bytes: self.bytes,
            frames: self.track.counts(),
            close: self.track.close_seen(),
            opaque: self.track.is_opaque(),
        }
    }

    /// Whether bytes of the source are discarded.
    pub(super) fn is_discarding(&self) -> bool {
        match self.sink {
            Sink::Open | Sink::Leaving | Sink::Detached => false,
            // At a boundary, the bytes before our close frame are complete.
            Sink::Closing => self.sink_at_boundary,
            Sink::Sealed | Sink::ShuttingDown | Sink::ShutDown | Sink::Done => true,
        }
    }

    pub(super) fn has_leftover(&self) -> bool {
        self.backlog().is_some()
    }

    /// Whether no more bytes can be kept for the sink.
    pub(super) fn is_full(&self) -> bool {
        let Some(outgoing) = &self.outgoing else {
            return false;
        };
        match self.sink {
            Sink::Detached => outgoing.room() == 0,
            _ => !outgoing.rest().is_empty(),
        }
    }
}

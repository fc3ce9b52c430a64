//! Source's side of a direction.

use std::{
    io,
    pin::Pin,
    task::{Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

use crate::frame::MAX_CONTROL_LEN;
use crate::tunnel::{
    context::FlowContext,
    pair::LegId,
    scratch::Scratch,
    track::{FilterFrom, Place, ScanResult},
};

use super::{
    held::{Held, Pause},
    pump::{Event, Flow, Notice, Sink, Source},
};

/// Smallest read after stalls, in bytes, if the buffer's limit allows it.
const MIN_READ: usize = 4 * 1024;

/// The end of scanned bytes, which cannot be forwarded yet.
#[derive(Clone, Copy)]
enum Rest<'a> {
    /// The beginning of a frame that waits for its rest.
    Beginning(&'a [u8]),
    /// Frames that wait, for a limit or for a decision.
    Unread(&'a [u8], Option<Pause>),
}

/// Whether all of the bytes that were read were removed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Swallowed {
    All,
    Part,
}

impl Flow {
    /// Reads once, forwards the bytes that may be forwarded, and returns the number of bytes read;
    /// an error is an event to report.
    pub(super) fn poll_source(
        &mut self,
        cx: &mut FlowContext<'_, '_>,
        scratch: &mut Scratch,
    ) -> Poll<Result<usize, Event>> {
        let mut buf = scratch.read_buf(self.read_len(cx.max_buffered));
        let mut unread = 0;
        if let Some(held) = &self.held {
            let is_paused = held.pause.is_some_and(|pause| pause.until > cx.clock.now());
            if is_paused && !self.is_discarding() {
                return Poll::Pending;
            }
            // A limit may stop the scan after a frame, so little is copied for each.
            let most = if self.track.is_guarded() {
                MIN_READ
            } else {
                usize::MAX
            };
            unread = held.copy_to(&mut buf, most);
            if held.pause.is_some() {
                cx.source.end_pause(cx.clock.now());
            }
        }
        if unread == 0 {
            let held_len = buf.filled().len();
            let read = ready!(Pin::new(&mut cx.source.transport).poll_read(cx.task, &mut buf));
            if let Err(error) = read {
                self.source = Source::Ended;
                return Poll::Ready(Err(Event::SourceFailed(error.kind())));
            }
            if buf.filled().len() == held_len {
                return Poll::Ready(Err(self.end_source(cx)));
            }
            cx.source.received(cx.clock.now());
            let read_len = buf.filled().len() - held_len;
            if swallow(cx, &mut buf, held_len)? == Swallowed::All {
                return Poll::Ready(Ok(read_len));
            }
        }
        self.is_unpublished = true;
        let held = self.held.take();
        let chunk = buf.filled_mut();
        let len = chunk.len();
        let passed = if self.is_discarding() {
            self.discard(chunk, held, unread);
            Ok(())
        } else if self.sink == Sink::Leaving {
            self.pass_message(cx, chunk, held, unread)
        } else {
            self.pass(cx, chunk, held.map(|held| (*held, unread)))
        };
        self.note_close();
        Poll::Ready(passed.map(|()| len))
    }

    /// Scans a chunk that is not forwarded.
    fn discard(&mut self, chunk: &[u8], held: Option<Box<Held>>, unread: usize) {
        self.track.read_discarded(chunk);
        if let Some(held) = held {
            self.hold(*held, unread, Rest::Beginning(&[]));
        }
    }

    /// The size of the next read: as much as may wait for the sink, and less after a stall.
    fn read_len(&self, max_buffered: usize) -> usize {
        let len = (max_buffered >> self.backoff).max(MIN_READ.min(max_buffered));
        match (self.sink, &self.outgoing) {
            (Sink::Detached, Some(outgoing)) => len.min(outgoing.room().max(MAX_CONTROL_LEN)),
            _ => len,
        }
    }

    /// Forwards a chunk as far as the frames in it allow.
    pub(super) fn pass(
        &mut self,
        cx: &mut FlowContext<'_, '_>,
        chunk: &mut [u8],
        held: Option<(Held, usize)>,
    ) -> Result<(), Event> {
        self.mark_position(cx);
        let result = self.scan(cx, chunk);
        let (forward, rest) = chunk.split_at(result.forward.min(chunk.len()));
        let rest = rest.get(..result.hold).unwrap_or_default();
        if held.is_some() || !rest.is_empty() {
            let (held, unread) = held.unwrap_or_default();
            let pause = result.pause.map(|(limit, until)| {
                let now = cx.clock.now();
                Pause::new(limit, until, now)
            });
            let rest = match (pause, result.withheld) {
                (None, None) => Rest::Beginning(rest),
                _ => Rest::Unread(rest, pause),
            };
            self.hold(held, unread, rest);
        }
        self.backoff = self.backoff.saturating_sub(1);
        if let Err(error) = self.forward_chunk(cx, forward, &result) {
            return Err(self.fail_sink(cx, &error));
        }
        match (result.breach, result.withheld) {
            (Some(breach), _) => Err(Event::Breach(breach)),
            (None, Some(code)) => Err(Event::CloseWithheld(code)),
            (None, None) => Ok(()),
        }
    }

    fn scan(&mut self, cx: &mut FlowContext<'_, '_>, chunk: &mut [u8]) -> ScanResult {
        let place = match cx.sink.waits_for_message_end() {
            true if self.sink == Sink::Open => Place::Message,
            _ => Place::Frame,
        };
        let was_opaque = self.track.is_opaque();
        let now = cx.clock.now();
        let mut awaited = cx.source.awaited();
        if let Some(filter) = &mut cx.filter {
            let from = cx.sink_id.other();
            awaited.filter = Some(FilterFrom { filter, from });
        }
        let result = self.track.read(chunk, place, awaited, now);
        cx.sink.expect_pongs(result.pings);
        if self.track.is_opaque() && !was_opaque {
            // Pings can no longer be put into this direction, nor pongs be found in it.
            cx.source.lose_pings();
            cx.sink.lose_pings();
        }
        result
    }

    fn forward_chunk(
        &mut self,
        cx: &mut FlowContext<'_, '_>,
        forward: &[u8],
        result: &ScanResult,
    ) -> io::Result<()> {
        let ends_at_boundary =
            result.hold > 0 || result.breach.is_some() || self.track.at_boundary();
        let place = result.boundary.filter(|_| {
            self.wants_boundary(cx.sink) && !(ends_at_boundary && self.may_follow(cx.sink))
        });
        let passed = match place {
            Some(boundary) => {
                let (before, after) = forward.split_at(boundary.min(forward.len()));
                self.forward_around(cx, before, after)?
            }
            None => {
                self.forward(cx, forward)?;
                forward.len()
            }
        };
        if passed > 0 {
            self.bytes += passed as u64;
            self.last_passed = cx.clock.now();
        }
        // An invalid header is a breach where rules are enforced: the boundaries after it are lost,
        // but the sink got nothing of it, nor of the bytes that were dropped after our close.
        self.sink_at_boundary = self.sink == Sink::Sealed
            || ends_at_boundary && (result.breach.is_some() || !self.track.is_opaque());
        Ok(())
    }

    /// Keeps `rest`, the end of the scanned bytes, which cannot be forwarded yet; `unread` of the
    /// scanned bytes were scanned for the first time.
    fn hold(&mut self, held: Held, unread: usize, rest: Rest<'_>) {
        let (beginning, rest, pause) = match rest {
            Rest::Beginning(beginning) => (beginning, &[][..], None),
            Rest::Unread(rest, pause) => (&[][..], rest, pause),
        };
        let held = Held {
            beginning: beginning.to_vec(),
            unread: held.remaining(unread, rest),
            pause,
        };
        self.held = held.boxed();
    }

    /// Notes the end of the source; a frame's beginning that waited for its rest goes to the sink
    /// as it is. The event does not wait until the sink has it: no later cause may precede it.
    fn end_source(&mut self, cx: &mut FlowContext<'_, '_>) -> Event {
        self.source = Source::Ended;
        if let Some(held) = self.held.take().filter(|_| !self.is_discarding()) {
            self.sink_at_boundary = false;
            self.is_unpublished = true;
            self.bytes += held.beginning.len() as u64;
            cx.sink.note_sent(held.beginning.len());
            self.outgoing.get_or_insert_default().push(&held.beginning);
        }
        if self.sink_at_boundary || self.track.is_opaque() || self.is_discarding() {
            Event::SourceEnded
        } else {
            Event::SourceTruncated
        }
    }

    fn note_close(&mut self) {
        if !self.track.has_closed() {
            return;
        }
        if self.close_read == Notice::None {
            self.close_read = Notice::Due;
        }
        if self.close_handed == Notice::None && self.track.has_passed_close() {
            self.close_handed = Notice::Due;
        }
    }

    /// The pause of a limit, if nothing else keeps the source from being read.
    pub(in crate::tunnel) fn pause(&self) -> Option<Pause> {
        let is_readable = !self.has_leftover() && !self.is_discarding();
        self.held.as_ref()?.pause.filter(|_| is_readable)
    }
}

/// Removes messages that the sink must not see from the bytes after the held ones.
#[inline]
fn swallow(
    cx: &mut FlowContext<'_, '_>,
    buf: &mut ReadBuf<'_>,
    held_len: usize,
) -> Result<Swallowed, Event> {
    let (Some(filter), LegId::Client) = (&mut cx.filter, cx.sink_id) else {
        return Ok(Swallowed::Part);
    };
    let chunk = buf.filled_mut().get_mut(held_len..).unwrap_or_default();
    let kept = filter.swallow(chunk).map_err(Event::Unfit)?;
    buf.set_filled(held_len + kept);
    Ok(match kept {
        0 => Swallowed::All,
        _ => Swallowed::Part,
    })
}

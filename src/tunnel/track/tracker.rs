//! The frame tracker: bytes in, a decision out.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    frame::{ControlFrame, FrameHeader, OpCode, Scanner},
    tunnel::{
        keep_alive::Pinger,
        report::{FrameCounts, Limit, ReceivedClose},
    },
};

use super::{
    capture::{Capture, Way},
    guard::{Breach, Guard, Judgment},
    unanswered::UnansweredPings,
};

/// What becomes of a chunk that was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::tunnel) struct ScanResult {
    /// The first so many bytes go to the sink.
    pub(in crate::tunnel) forward: usize,
    /// So many bytes behind those wait for the rest of their frame, or for the end of a pause, and
    /// are shown again.
    pub(in crate::tunnel) hold: usize,
    /// The first boundary in the forwarded bytes that a frame of ours may stand at.
    pub(in crate::tunnel) boundary: Option<usize>,
    /// The limit that holds the bytes back, and until when.
    pub(in crate::tunnel) pause: Option<(Limit, Instant)>,
    /// The pings that begin in the forwarded bytes.
    pub(in crate::tunnel) pings: UnansweredPings,
    /// The source broke a rule at the end of the forwarded bytes; what follows is not forwarded.
    pub(in crate::tunnel) breach: Option<Breach>,
}

/// Where a frame of ours may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tunnel) enum Place {
    /// Between any two frames: control frames may come between fragments (RFC 6455 §5.4).
    Frame,
    /// Between two messages.
    Message,
}

/// The pongs that a side may send because it was asked for them.
#[derive(Debug)]
pub(in crate::tunnel) struct Awaited<'leg> {
    pub(in crate::tunnel) pinger: Option<&'leg mut Pinger>,
    /// Pings of the other endpoint that it has not answered.
    pub(in crate::tunnel) unanswered_pings: &'leg mut UnansweredPings,
}

/// The frame tracker of one direction.
#[derive(Debug)]
pub(in crate::tunnel) struct Track {
    scanner: Scanner,
    opaque: bool,
    /// Whether a message has begun and not ended: the data frame that came last lacks FIN.
    in_message: bool,
    counts: FrameCounts,
    /// Present only where rules are enforced or limits set.
    guard: Option<Box<Guard>>,
    /// The close frame that came, or is coming.
    close: Option<Box<Capture>>,
}

impl Track {
    pub(in crate::tunnel) fn new(guard: Option<Guard>) -> Self {
        Self {
            scanner: Scanner::new(),
            opaque: false,
            in_message: false,
            counts: FrameCounts::default(),
            guard: guard.map(Box::new),
            close: None,
        }
    }

    /// A direction whose bytes are not looked at.
    pub(in crate::tunnel) fn opaque() -> Self {
        Self {
            opaque: true,
            ..Self::new(None)
        }
    }

    /// Reads a chunk. Pongs that answer our pings are cut out of `chunk`, which is why it is
    /// mutable: the result speaks of what is left.
    pub(in crate::tunnel) fn read(
        &mut self,
        chunk: &mut [u8],
        place: Place,
        mut awaited: Awaited<'_>,
        now: Instant,
    ) -> ScanResult {
        if self.opaque {
            return ScanResult {
                forward: chunk.len(),
                ..ScanResult::default()
            };
        }
        let mut result = ScanResult::default();
        let mut len = chunk.len();
        let mut position = 0;
        loop {
            position += self.skip_payload(chunk.get(position..len).unwrap_or_default());
            let rest = chunk.get(position..len).unwrap_or_default();
            if self.may_place(place) {
                result.boundary.get_or_insert(position);
            }
            let (at_boundary, pings) = (self.scanner.at_boundary(), self.counts.ping);
            match self.read_frame(rest, &mut awaited, now) {
                Frame::Begun(header_len) => {
                    if self.counts.ping != pings {
                        let frame = if at_boundary { rest } else { &[] };
                        result.pings.add(UnansweredPings::ping(frame));
                    }
                    position += header_len;
                }
                Frame::Swallowed(pong_len) => {
                    chunk.copy_within(position + pong_len..len, position);
                    len -= pong_len;
                }
                Frame::Cut => {
                    position = len;
                    break;
                }
                Frame::Held(pause) => {
                    result.hold = len - position;
                    result.pause = pause;
                    break;
                }
                Frame::Refused(breach, header_len) => {
                    result.breach = Some(breach);
                    self.read_discarded(chunk.get(position + header_len..len).unwrap_or_default());
                    break;
                }
            }
        }
        result.forward = position;
        result
    }

    /// Reads bytes that go nowhere, looking only for the close frame.
    pub(in crate::tunnel) fn read_discarded(&mut self, mut bytes: &[u8]) {
        self.guard = None;
        while !self.opaque && !bytes.is_empty() {
            let skipped = self.skip_payload(bytes);
            bytes = bytes.get(skipped..).unwrap_or_default();
            match self.scanner.next(&mut bytes) {
                Ok(Some(header)) => self.capture(&header, Way::Nowhere),
                Ok(None) => break,
                Err(_) => self.opaque = true,
            }
        }
    }

    /// The source could not send for so long until now, for no fault of its own.
    pub(in crate::tunnel) fn make_up_for(&mut self, time: Duration, now: Instant) {
        if let Some(guard) = &mut self.guard {
            guard.make_up_for(time, now);
        }
    }

    /// Whether the forwarded bytes end between two frames, where one of ours may be put.
    pub(in crate::tunnel) fn at_boundary(&self) -> bool {
        !self.opaque && self.scanner.at_boundary()
    }

    /// Whether a message has begun and not ended. Where none has, at a boundary, nothing of what
    /// was forwarded misses its rest.
    pub(in crate::tunnel) const fn in_message(&self) -> bool {
        self.in_message
    }

    /// Whether the bytes stopped being frames, or were never looked at.
    pub(in crate::tunnel) const fn is_opaque(&self) -> bool {
        self.opaque
    }

    /// Whether the source sent a whole close frame, whatever became of it.
    pub(in crate::tunnel) fn has_closed(&self) -> bool {
        self.close.as_ref().is_some_and(|close| close.is_whole())
    }

    /// Whether a whole close frame was forwarded.
    pub(in crate::tunnel) fn has_passed_close(&self) -> bool {
        self.is_closing() && self.has_closed()
    }

    /// Whether a close frame began to be forwarded: nothing may be put behind it
    /// (RFC 6455 §5.5.1).
    pub(in crate::tunnel) fn is_closing(&self) -> bool {
        self.close
            .as_ref()
            .is_some_and(|close| close.way() == Way::On)
    }

    pub(in crate::tunnel) const fn counts(&self) -> FrameCounts {
        self.counts
    }

    pub(in crate::tunnel) fn close_seen(&self) -> Option<ReceivedClose> {
        self.close
            .as_ref()
            .filter(|close| close.is_whole())
            .map(|close| close.seen())
    }

    #[inline]
    fn may_place(&self, place: Place) -> bool {
        self.scanner.at_boundary() && (place == Place::Frame || !self.in_message)
    }

    /// Skips payload of the frame under way; how many bytes.
    #[inline]
    fn skip_payload(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        self.scanner.skip_payload(&mut rest);
        let skipped = bytes.len() - rest.len();
        if let Some(close) = &mut self.close {
            close.take(bytes.get(..skipped).unwrap_or_default());
        }
        skipped
    }

    /// Reads the header of the next frame, or a whole pong of ours.
    #[inline]
    fn read_frame(&mut self, bytes: &[u8], awaited: &mut Awaited<'_>, now: Instant) -> Frame {
        if !(self.scanner.at_boundary() && is_pong(bytes)) {
            return self.read_header(bytes, false, now);
        }
        match read_pong(bytes, awaited, now) {
            Pong::Ours(pong_len) => return Frame::Swallowed(pong_len),
            Pong::Cut => return Frame::Held(None),
            Pong::Theirs => {}
        }
        let is_forced = !awaited.unanswered_pings.are_none();
        let frame = self.read_header(bytes, is_forced, now);
        if matches!(frame, Frame::Begun(_) | Frame::Cut) {
            awaited.unanswered_pings.settle(bytes);
        }
        frame
    }

    #[inline]
    fn read_header(&mut self, bytes: &[u8], is_forced: bool, now: Instant) -> Frame {
        let before = self.scanner;
        let mut rest = bytes;
        match self.scanner.next(&mut rest) {
            Ok(Some(header)) => {
                let header_len = bytes.len() - rest.len();
                let judge = |guard: &mut Box<Guard>| guard.judge(&header, is_forced, now);
                match self.guard.as_mut().map_or(Judgment::Pass, judge) {
                    Judgment::Pass => {
                        self.count(&header);
                        Frame::Begun(header_len)
                    }
                    Judgment::Wait(limit, until) => {
                        self.scanner = before;
                        Frame::Held(Some((limit, until)))
                    }
                    Judgment::Refuse(breach) => {
                        self.capture(&header, Way::Nowhere);
                        Frame::Refused(breach, header_len)
                    }
                }
            }
            // A guard judges a header before any of it is forwarded.
            Ok(None) if self.guard.is_some() && !bytes.is_empty() => {
                self.scanner = before;
                Frame::Held(None)
            }
            Ok(None) => Frame::Cut,
            Err(error) => {
                self.opaque = true;
                match self.guard.as_ref().and_then(|guard| guard.rules.as_ref()) {
                    Some(_) => Frame::Refused(Breach::Violation(error.into()), bytes.len()),
                    None => Frame::Cut,
                }
            }
        }
    }

    fn capture(&mut self, header: &FrameHeader, way: Way) {
        if header.opcode() == OpCode::CLOSE && self.close.is_none() {
            self.close = Some(Box::new(Capture::new(*header, way)));
        }
    }

    #[inline]
    fn count(&mut self, header: &FrameHeader) {
        let counts = &mut self.counts;
        let count = match header.opcode() {
            OpCode::TEXT => &mut counts.text,
            OpCode::BINARY => &mut counts.binary,
            OpCode::CONTINUATION => &mut counts.continuation,
            OpCode::PING => &mut counts.ping,
            OpCode::PONG => &mut counts.pong,
            OpCode::CLOSE => {
                counts.close += 1;
                return self.capture(header, Way::On);
            }
            _ => &mut counts.reserved,
        };
        *count += 1;
        if !header.opcode().is_control() {
            self.in_message = !header.fin();
        }
    }
}

/// A frame that begins, or its header's beginning.
enum Frame {
    /// Its header has this length, and is forwarded.
    Begun(usize),
    /// It was a pong of this length that answers our ping.
    Swallowed(usize),
    /// All there is of it is forwarded; or the bytes are frames no more.
    Cut,
    /// It waits for its rest, or for this limit until that moment.
    Held(Option<(Limit, Instant)>),
    /// Its header has this length, and must not be forwarded.
    Refused(Breach, usize),
}

enum Pong {
    Ours(usize),
    Theirs,
    Cut,
}

fn read_pong(bytes: &[u8], awaited: &mut Awaited<'_>, now: Instant) -> Pong {
    let Some(pinger) = awaited.pinger.as_deref_mut() else {
        return Pong::Theirs;
    };
    if !pinger.expects_pong() {
        return Pong::Theirs;
    }
    match ControlFrame::parse(bytes) {
        Ok(Some((pong, len))) => {
            // Some peers answer with a payload of their own. Where the other endpoint has asked
            // for nothing, such a pong can only be meant for us.
            let is_ours = pinger.take_pong(pong.payload(), now)
                || awaited.unanswered_pings.are_none() && pinger.take_odd_pong(now);
            match is_ours {
                true => Pong::Ours(len),
                false => Pong::Theirs,
            }
        }
        Ok(None) => Pong::Cut,
        Err(_) => Pong::Theirs,
    }
}

/// Whether a pong frame begins here (FIN, any reserved bits, opcode 0xA).
fn is_pong(bytes: &[u8]) -> bool {
    bytes
        .first()
        .is_some_and(|first| OpCode::from_bits(*first) == OpCode::PONG)
}

#[cfg(test)]
mod tests;

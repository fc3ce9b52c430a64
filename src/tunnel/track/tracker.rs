//! Frame tracker: bytes in, a decision out.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    frame::{CloseCode, FrameHeader, OpCode, Rsv, Scanner},
    tunnel::{
        reattach::Fate,
        report::Limit,
        traffic::{FrameCounts, ReceivedClose},
    },
};

use super::{
    awaited::{Awaited, Pong, is_control, is_pong, judge_control, read_pong, settle_filter},
    capture::{Capture, Destination},
    guard::{Breach, CheckResult, Guard},
    position::Position,
    scan_result::ScanResult,
    unanswered::UnansweredPings,
};

/// Place at which a frame of ours may be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tunnel) enum Place {
    /// Between any two frames: control frames may come between fragments (RFC 6455 §5.4).
    Frame,
    /// Between two messages.
    Message,
}

/// Frame tracker of one direction.
#[derive(Debug)]
pub(in crate::tunnel) struct Track {
    scanner: Scanner,
    opaque: bool,
    /// Whether a message has begun and not ended: the data frame that came last lacks FIN.
    in_message: bool,
    /// All reserved bits of frames that were forwarded.
    rsv: u8,
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
            rsv: 0,
            counts: FrameCounts::default(),
            guard: guard.map(Box::new),
            close: None,
        }
    }

    /// Makes the tracker of a direction whose bytes are not scanned.
    pub(in crate::tunnel) fn opaque() -> Self {
        Self {
            opaque: true,
            ..Self::new(None)
        }
    }

    /// Scans a chunk. Pongs that answer our pings are removed from `chunk`, and the result is about
    /// the remaining bytes.
    pub(in crate::tunnel) fn read(
        &mut self,
        chunk: &mut [u8],
        place: Place,
        awaited: Awaited<'_>,
        now: Instant,
    ) -> ScanResult {
        if self.opaque {
            return ScanResult {
                forward: chunk.len(),
                ..ScanResult::default()
            };
        }
        self.read_frames(chunk, place, awaited, now)
    }

    #[inline]
    fn read_frames(
        &mut self,
        chunk: &mut [u8],
        place: Place,
        mut awaited: Awaited<'_>,
        now: Instant,
    ) -> ScanResult {
        let mut result = ScanResult::default();
        let mut len = chunk.len();
        let mut position = 0;
        loop {
            position += self.skip_payload(chunk.get(position..len).unwrap_or_default());
            let rest = chunk.get(position..len).unwrap_or_default();
            if self.may_place(place) {
                result.boundary.get_or_insert(position);
            }
            if rest.is_empty() {
                break;
            }
            let (at_boundary, pings) = (self.scanner.at_boundary(), self.counts.ping);
            match self.read_frame(rest, &mut awaited, now) {
                Frame::Begun(header_len) => {
                    if self.counts.ping != pings {
                        let ping = if at_boundary { rest } else { &[] };
                        result.pings.add(UnansweredPings::ping(ping));
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
                Frame::Stopped(stop) => {
                    self.stop(stop, rest, &mut result);
                    break;
                }
            }
        }
        result.forward = position;
        result
    }

    /// Notes why a frame is not forwarded, with which these bytes begin.
    fn stop(&mut self, stop: Stop, bytes: &[u8], result: &mut ScanResult) {
        match stop {
            Stop::Held(pause) => {
                result.hold = bytes.len();
                result.pause = pause;
            }
            Stop::Withheld(code) => {
                result.hold = bytes.len();
                result.withheld = Some(code);
            }
            Stop::Rejected(breach, header_len) => {
                result.breach = Some(breach);
                self.read_discarded(bytes.get(header_len..).unwrap_or_default());
            }
        }
    }

    /// Scans bytes that are discarded, for the close frame alone.
    pub(in crate::tunnel) fn read_discarded(&mut self, mut bytes: &[u8]) {
        self.guard = None;
        while !self.opaque && !bytes.is_empty() {
            let skipped = self.skip_payload(bytes);
            bytes = bytes.get(skipped..).unwrap_or_default();
            match self.scanner.next(&mut bytes) {
                Ok(Some(header)) => self.capture(&header, Destination::Discarded),
                Ok(None) => break,
                Err(_) => self.opaque = true,
            }
        }
    }

    /// The source could not send for so long until now, for no fault of its own.
    pub(in crate::tunnel) fn credit_time(&mut self, time: Duration, now: Instant) {
        if let Some(guard) = &mut self.guard {
            guard.credit_time(time, now);
        }
    }

    /// Whether the forwarded bytes end between two frames, where one of ours may be put.
    pub(in crate::tunnel) fn at_boundary(&self) -> bool {
        !self.opaque && self.scanner.at_boundary()
    }

    /// Whether a message has begun and not ended. At a boundary outside a message, all forwarded
    /// messages are complete.
    pub(in crate::tunnel) const fn in_message(&self) -> bool {
        self.in_message
    }

    /// The position of the forwarded bytes.
    pub(in crate::tunnel) const fn position(&self) -> Position {
        Position {
            scanner: self.scanner,
            in_message: self.in_message,
        }
    }

    /// The reserved bits that any forwarded frame had.
    pub(in crate::tunnel) const fn reserved_bits(&self) -> Rsv {
        Rsv::from_bits(self.rsv)
    }

    /// Whether rules or limits apply.
    pub(in crate::tunnel) const fn is_guarded(&self) -> bool {
        self.guard.is_some()
    }

    /// Whether the bytes stopped being frames, or were never scanned.
    pub(in crate::tunnel) const fn is_opaque(&self) -> bool {
        self.opaque
    }

    /// Whether the source sent a whole close frame, forwarded or not.
    pub(in crate::tunnel) fn has_closed(&self) -> bool {
        self.close.as_ref().is_some_and(|close| close.is_whole())
    }

    /// Whether a whole close frame was forwarded.
    pub(in crate::tunnel) fn has_passed_close(&self) -> bool {
        self.is_closing() && self.has_closed()
    }

    /// Whether a close frame began to be forwarded: nothing may follow it (RFC 6455 §5.5.1).
    pub(in crate::tunnel) fn is_closing(&self) -> bool {
        self.close
            .as_ref()
            .is_some_and(|close| close.destination() == Destination::Sink)
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

    /// Skips payload of the frame under way, and returns the number of bytes.
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

    /// Reads the header of the next frame, or a whole control frame that is not forwarded.
    #[inline]
    fn read_frame(&mut self, bytes: &[u8], awaited: &mut Awaited<'_>, now: Instant) -> Frame {
        match self.scanner.at_boundary() && is_control(bytes) {
            true => self.read_control(bytes, awaited, now),
            false => self.read_header(bytes, false, now),
        }
    }

    fn read_control(&mut self, bytes: &[u8], awaited: &mut Awaited<'_>, now: Instant) -> Frame {
        let is_pong = is_pong(bytes);
        if is_pong {
            match read_pong(bytes, awaited, now) {
                Pong::Ours(pong_len) => return Frame::Swallowed(pong_len),
                Pong::Cut => return Frame::Stopped(Stop::Held(None)),
                Pong::Theirs => {}
            }
        }
        match judge_control(bytes, awaited) {
            None => return Frame::Stopped(Stop::Held(None)),
            Some((Fate::Swallow | Fate::SwallowAnswer, len)) => return Frame::Swallowed(len),
            Some((Fate::Withhold(code), _)) => return Frame::Stopped(Stop::Withheld(code)),
            Some((Fate::Pass, _)) => {}
        }
        let is_solicited = is_pong && awaited.unanswered_pings.expect_pong();
        let frame = self.read_header(bytes, is_solicited, now);
        if is_pong && matches!(frame, Frame::Begun(_) | Frame::Cut) {
            awaited.unanswered_pings.settle(bytes);
            settle_filter(awaited);
        }
        frame
    }

    #[inline]
    fn read_header(&mut self, bytes: &[u8], is_solicited: bool, now: Instant) -> Frame {
        let before = self.scanner;
        let mut rest = bytes;
        match self.scanner.next(&mut rest) {
            Ok(Some(header)) => {
                let header_len = bytes.len() - rest.len();
                let check = |guard: &mut Box<Guard>| guard.check(&header, is_solicited, now);
                match self.guard.as_mut().map_or(CheckResult::Pass, check) {
                    CheckResult::Pass => {
                        self.count(&header);
                        Frame::Begun(header_len)
                    }
                    CheckResult::Wait(limit, until) => {
                        self.scanner = before;
                        Frame::Stopped(Stop::Held(Some((limit, until))))
                    }
                    CheckResult::Reject(breach) => {
                        self.capture(&header, Destination::Discarded);
                        Frame::Stopped(Stop::Rejected(breach, header_len))
                    }
                }
            }
            // A guard checks a header before any of it is forwarded.
            Ok(None) if self.guard.is_some() && !bytes.is_empty() => {
                self.scanner = before;
                Frame::Stopped(Stop::Held(None))
            }
            Ok(None) => Frame::Cut,
            Err(error) => {
                self.opaque = true;
                match self.guard.as_ref().and_then(|guard| guard.rules.as_ref()) {
                    Some(_) => {
                        Frame::Stopped(Stop::Rejected(Breach::Violation(error.into()), bytes.len()))
                    }
                    None => Frame::Cut,
                }
            }
        }
    }

    fn capture(&mut self, header: &FrameHeader, destination: Destination) {
        if header.opcode() == OpCode::CLOSE && self.close.is_none() {
            self.close = Some(Box::new(Capture::new(*header, destination)));
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
                return self.capture(header, Destination::Sink);
            }
            _ => &mut counts.reserved,
        };
        *count += 1;
        self.rsv |= header.rsv().bits();
        if !header.opcode().is_control() {
            self.in_message = !header.fin();
        }
    }
}

/// Result of reading at a frame boundary, or inside a header.
enum Frame {
    /// A header of this length, which is forwarded.
    Begun(usize),
    /// A pong of this length that answers our ping.
    Swallowed(usize),
    /// An incomplete header, forwarded as far as it came; or bytes that are no longer frames.
    Cut,
    /// A frame that is not forwarded, or not yet.
    Stopped(Stop),
}

/// Why no byte from a frame on is forwarded.
#[derive(Clone, Copy)]
enum Stop {
    /// The frame waits for its rest, or for this limit until that moment.
    Held(Option<(Limit, Instant)>),
    /// A whole close frame with this code waits until the end of the tunnel is certain.
    Withheld(CloseCode),
    /// A header of this length must not be forwarded.
    Rejected(Breach, usize),
}

#[cfg(test)]
mod tests;

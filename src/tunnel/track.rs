//! What one direction's bytes mean: frames counted, closes remembered, our pongs taken out.
//! Pure: bytes in, a decision out.

use tokio::time::Instant;

use crate::{
    frame::{CloseCode, ControlFrame, FrameHeader, OpCode, Rules, Scanner, Violation, mask},
    tunnel::report::{FrameCounts, Limit, ReceivedClose},
};

use super::{keep_alive::Pinger, limits::Meter};

/// What becomes of a chunk that was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The first so many bytes go to the sink.
    pub(super) forward: usize,
    /// So many bytes behind those wait for the rest of their frame, and are shown again.
    pub(super) hold: usize,
    /// The first frame boundary in the forwarded bytes, if there is one.
    pub(super) boundary: Option<usize>,
    /// The source broke a rule at the end of the forwarded bytes; what follows is not forwarded.
    pub(super) breach: Option<Breach>,
}

/// How a side broke the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breach {
    Limit(Limit),
    Violation(Violation),
}

/// The frame tracker of one direction.
#[derive(Debug)]
pub(super) struct Track {
    scanner: Scanner,
    opaque: bool,
    counts: FrameCounts,
    /// Present only where rules are enforced or limits set.
    guard: Option<Box<Guard>>,
    /// The close frame that passed, or is passing.
    close: Option<Box<Capture>>,
}

/// What a direction must keep to.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) rules: Option<Rules>,
    pub(super) meter: Meter,
}

/// The payload of a close frame, copied as it passes.
#[derive(Debug)]
struct Capture {
    header: FrameHeader,
    payload: Vec<u8>,
}

impl Track {
    pub(super) fn new(guard: Option<Guard>) -> Self {
        Self {
            scanner: Scanner::new(),
            opaque: false,
            counts: FrameCounts::default(),
            guard: guard.map(Box::new),
            close: None,
        }
    }

    /// A direction whose bytes are not looked at.
    pub(super) fn opaque() -> Self {
        Self {
            opaque: true,
            ..Self::new(None)
        }
    }

    /// Reads a chunk. Pongs that answer `pinger`'s pings are cut out of `chunk`, which is why it
    /// is mutable: the verdict speaks of what is left.
    pub(super) fn read(
        &mut self,
        chunk: &mut [u8],
        mut pinger: Option<&mut Pinger>,
        now: Instant,
    ) -> Verdict {
        if self.opaque {
            return Verdict {
                forward: chunk.len(),
                ..Verdict::default()
            };
        }
        let mut verdict = Verdict::default();
        let mut len = chunk.len();
        let mut position = 0;
        loop {
            position += self.skip_payload(chunk.get(position..len).unwrap_or_default());
            let rest = chunk.get(position..len).unwrap_or_default();
            if self.scanner.at_boundary() {
                verdict.boundary.get_or_insert(position);
                if let (Some(pinger), true) = (pinger.as_deref_mut(), is_pong(rest)) {
                    match self.read_pong(rest, pinger, now) {
                        Pong::Ours(pong_len) => {
                            chunk.copy_within(position + pong_len..len, position);
                            len -= pong_len;
                            continue;
                        }
                        Pong::Cut => {
                            verdict.hold = len - position;
                            break;
                        }
                        Pong::Theirs => {}
                    }
                }
            }
            match self.read_header(rest, now) {
                Header::Whole(header_len) => position += header_len,
                Header::Cut => {
                    position = len;
                    break;
                }
                Header::Held => {
                    verdict.hold = len - position;
                    break;
                }
                Header::Breach(breach, header_len) => {
                    verdict.breach = Some(breach);
                    self.read_discarded(chunk.get(position + header_len..len).unwrap_or_default());
                    break;
                }
                Header::Lost => {
                    self.opaque = true;
                    position = len;
                    break;
                }
            }
        }
        verdict.forward = position;
        verdict
    }

    /// Reads bytes that go nowhere, looking only for the close frame.
    pub(super) fn read_discarded(&mut self, mut bytes: &[u8]) {
        self.guard = None;
        while !self.opaque && !bytes.is_empty() {
            let skipped = self.skip_payload(bytes);
            bytes = bytes.get(skipped..).unwrap_or_default();
            match self.scanner.next(&mut bytes) {
                Ok(Some(header)) => self.count(&header),
                Ok(None) => break,
                Err(_) => self.opaque = true,
            }
        }
    }

    /// Whether the forwarded bytes end between two frames, where one of ours may be put.
    pub(super) fn at_boundary(&self) -> bool {
        !self.opaque && self.scanner.at_boundary()
    }

    /// Whether the bytes stopped being frames, or were never looked at.
    pub(super) const fn is_opaque(&self) -> bool {
        self.opaque
    }

    /// Whether a whole close frame has passed.
    pub(super) fn has_closed(&self) -> bool {
        self.close.as_ref().is_some_and(|close| close.is_whole())
    }

    /// Whether a close frame has begun to pass: nothing may be put behind it (RFC 6455 §5.5.1).
    pub(super) const fn is_closing(&self) -> bool {
        self.close.is_some()
    }

    pub(super) const fn counts(&self) -> FrameCounts {
        self.counts
    }

    pub(super) fn close_seen(&self) -> Option<ReceivedClose> {
        self.close
            .as_ref()
            .filter(|close| close.is_whole())
            .map(|close| close.seen())
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

    fn read_pong(&mut self, bytes: &[u8], pinger: &mut Pinger, now: Instant) -> Pong {
        if !pinger.expects_pong() {
            return Pong::Theirs;
        }
        match ControlFrame::parse(bytes) {
            Ok(Some((pong, len))) if pinger.take_pong(pong.payload(), now) => Pong::Ours(len),
            Ok(None) => Pong::Cut,
            Ok(Some(_)) | Err(_) => Pong::Theirs,
        }
    }

    #[inline]
    fn read_header(&mut self, bytes: &[u8], now: Instant) -> Header {
        let before = self.scanner;
        let mut rest = bytes;
        match self.scanner.next(&mut rest) {
            Ok(Some(header)) => {
                if let Some(breach) = self.breach(&header, now) {
                    return Header::Breach(breach, bytes.len() - rest.len());
                }
                self.count(&header);
                Header::Whole(bytes.len() - rest.len())
            }
            // A guard judges a header before any of it is forwarded.
            Ok(None) if self.guard.is_some() && !bytes.is_empty() => {
                self.scanner = before;
                Header::Held
            }
            Ok(None) => Header::Cut,
            Err(error) => match self.guard.as_ref().and_then(|guard| guard.rules.as_ref()) {
                Some(_) => {
                    self.opaque = true;
                    Header::Breach(Breach::Violation(error.into()), bytes.len())
                }
                None => Header::Lost,
            },
        }
    }

    #[inline]
    fn breach(&mut self, header: &FrameHeader, now: Instant) -> Option<Breach> {
        let guard = self.guard.as_mut()?;
        if let Some(rules) = &mut guard.rules {
            if let Err(violation) = rules.check(header) {
                return Some(Breach::Violation(violation));
            }
        }
        guard.meter.take_frame(header, now).err().map(Breach::Limit)
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
                self.close
                    .get_or_insert_with(|| Box::new(Capture::new(*header)));
                &mut counts.close
            }
            _ => &mut counts.reserved,
        };
        *count += 1;
    }
}

enum Pong {
    Ours(usize),
    Theirs,
    Cut,
}

enum Header {
    Whole(usize),
    /// Its beginning is forwarded; the scanner keeps it.
    Cut,
    /// Its beginning waits for the rest.
    Held,
    /// It has this length, and must not be forwarded.
    Breach(Breach, usize),
    Lost,
}

impl Capture {
    fn new(header: FrameHeader) -> Self {
        Self {
            header,
            payload: Vec::new(),
        }
    }

    fn missing(&self) -> usize {
        let expected = usize::try_from(self.header.payload_len()).unwrap_or(usize::MAX);
        expected.saturating_sub(self.payload.len())
    }

    fn is_whole(&self) -> bool {
        self.missing() == 0
    }

    fn take(&mut self, bytes: &[u8]) {
        let wanted = self.missing().min(bytes.len());
        self.payload
            .extend_from_slice(bytes.get(..wanted).unwrap_or_default());
    }

    /// RFC 6455 §5.5.1: two bytes of code, then a reason in UTF-8; or nothing at all.
    fn seen(&self) -> ReceivedClose {
        let mut payload = self.payload.clone();
        if let Some(key) = self.header.mask() {
            mask::apply(&mut payload, key, 0);
        }
        let (code, reason) = match payload.split_first_chunk() {
            Some((code, reason)) => (Some(CloseCode::new(u16::from_be_bytes(*code))), reason),
            None => (None, &[][..]),
        };
        ReceivedClose {
            code,
            reason: std::str::from_utf8(reason).unwrap_or_default().to_owned(),
        }
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

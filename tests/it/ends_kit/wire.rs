//! The oracle of the wire: the bytes that one side received, compared with those that the other
//! side sent.

use wsplice::{
    frame::{CloseCode, ControlFrame, OpCode, Scanner},
    tunnel::Side,
};

/// The first close frame in a side's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Close {
    pub(super) code: Option<u16>,
    /// Where the frame ends in the bytes of its sender.
    pub(super) ends_at: usize,
}

/// The bytes that a side received, taken apart.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Bytes of the other side.
    pub(super) theirs: usize,
    /// How many of those may be the beginning of a frame of the proxy as well.
    pub(super) doubtful: usize,
    /// Bytes of pongs of the other side that were left out before the last byte that came.
    pub(super) swallowed: usize,
    /// The payloads of the proxy's own pings.
    pub(super) pings: Vec<Vec<u8>>,
    /// The code of the close frame that the proxy sent.
    pub(super) own_close: Option<u16>,
    /// Whether the other side's close frame came.
    pub(super) has_relayed_close: bool,
    pub(super) place: Place,
}

/// Where the received bytes end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    #[default]
    Boundary,
    InTheirFrame,
    InOwnFrame,
    /// Behind bytes that are no frames.
    Opaque,
}

/// The bytes that come next from a side.
enum Next<'a> {
    Frame(&'a [u8], OpCode),
    /// The beginning of a frame.
    Part(&'a [u8]),
    /// No frame, up to the end.
    Opaque(&'a [u8]),
}

fn next(bytes: &[u8]) -> Next<'_> {
    let mut rest = bytes;
    match Scanner::new().next(&mut rest) {
        Err(_) => Next::Opaque(bytes),
        Ok(None) => Next::Part(bytes),
        Ok(Some(header)) => match usize::try_from(header.frame_len()) {
            Ok(len) if len <= bytes.len() => Next::Frame(&bytes[..len], header.opcode()),
            _ => Next::Part(bytes),
        },
    }
}

/// The first whole close frame that a tunnel can find in the bytes of a side.
pub(super) fn first_close(sent: &[u8]) -> Option<Close> {
    let mut at = 0;
    while let Next::Frame(frame, opcode) = next(&sent[at..]) {
        at += frame.len();
        if opcode == OpCode::CLOSE {
            let control = ControlFrame::parse(frame).ok().flatten();
            let code = control.and_then(|(control, _)| control.close_code());
            let code = code.map(CloseCode::as_u16);
            return Some(Close { code, ends_at: at });
        }
    }
    None
}

/// The number of frames that a tunnel can find in the bytes of a side, the last one perhaps a part.
pub(super) fn frames(sent: &[u8]) -> u64 {
    let (mut at, mut count) = (0, 1);
    while let Next::Frame(frame, _) = next(&sent[at..]) {
        at += frame.len();
        count += 1;
    }
    count
}

/// Takes the received bytes apart, and panics where they break a rule: each frame is one of the
/// other side's, in order, or a whole control frame of the proxy; nothing follows a close frame.
pub(super) fn parse(to: Side, sent: &[u8], received: &[u8], is_pinged: bool) -> Received {
    let mut seen = Received::default();
    let mut at = 0;
    let mut skipped = 0;
    let mut rest = received;
    while !rest.is_empty() {
        let is_closed = seen.own_close.is_some();
        assert!(
            !is_closed,
            "to the {to}: bytes behind a close frame: {rest:?}"
        );
        let upcoming = next(&sent[at..]);
        let theirs = match upcoming {
            Next::Frame(bytes, _) | Next::Part(bytes) | Next::Opaque(bytes) => bytes,
        };
        let common = theirs.len().min(rest.len());
        let is_whole = matches!(upcoming, Next::Frame(..)) && common == theirs.len();
        let is_theirs = common > 0 && theirs[..common] == rest[..common];
        if is_theirs && (is_whole || common == rest.len()) {
            seen.place = match upcoming {
                Next::Opaque(_) => Place::Opaque,
                _ if is_whole => Place::Boundary,
                _ => Place::InTheirFrame,
            };
            seen.has_relayed_close |= is_whole && matches!(upcoming, Next::Frame(_, OpCode::CLOSE));
            if !is_whole && matches!(rest[0], 0x88 | 0x89) {
                seen.doubtful = common;
            }
            seen.theirs += common;
            seen.swallowed += std::mem::take(&mut skipped);
            at += common;
            rest = &rest[common..];
        } else if let Some(pongs) = pongs_before(&sent[at..], rest).filter(|_| is_pinged) {
            at += pongs;
            skipped += pongs;
        } else if let Some(len) = seen.take_own(to, rest) {
            let is_closed = seen.has_relayed_close;
            assert!(
                !is_closed,
                "to the {to}: a frame of the proxy behind a close frame"
            );
            rest = &rest[len..];
        } else {
            panic!(
                "to the {to}: neither the other side's nor the proxy's: {:?} instead of {:?}",
                &rest[..rest.len().min(40)],
                &theirs[..theirs.len().min(40)],
            );
        }
    }
    seen
}

/// The length of the pongs that come next, if the bytes that were received go on behind them.
fn pongs_before(sent: &[u8], received: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Next::Frame(pong, OpCode::PONG) = next(&sent[at..]) {
        at += pong.len();
        let goes_on = match next(&sent[at..]) {
            Next::Frame(bytes, _) => received.starts_with(bytes) || bytes.starts_with(received),
            // Nothing comes behind the last bytes of a side that are no whole frame.
            Next::Part(bytes) | Next::Opaque(bytes) => bytes.starts_with(received),
        };
        if goes_on {
            return Some(at);
        }
    }
    None
}

impl Received {
    /// Takes a control frame of the proxy, or its beginning, off the bytes: its length.
    fn take_own(&mut self, to: Side, bytes: &[u8]) -> Option<usize> {
        // RFC 6455 §5.1: masked to the upstream, unmasked to the client.
        let is_masked = |second: &u8| second & 0x80 != 0;
        let is_right = bytes
            .get(1)
            .is_none_or(|second| is_masked(second) == (to == Side::Upstream));
        if !matches!(bytes.first()?, 0x88 | 0x89) || !is_right {
            return None;
        }
        let Some((frame, len)) = ControlFrame::parse(bytes).ok()? else {
            self.place = Place::InOwnFrame;
            return Some(bytes.len());
        };
        self.place = Place::Boundary;
        match frame.opcode() {
            OpCode::PING if frame.payload().len() == 8 => self.pings.push(frame.payload().to_vec()),
            OpCode::CLOSE => self.own_close = Some(frame.close_code()?.as_u16()),
            _ => return None,
        }
        Some(len)
    }
}

/// The same where the tunnel reads no frames: nothing but the other side's bytes.
pub(super) fn parse_opaque(to: Side, sent: &[u8], received: &[u8]) -> Received {
    assert!(sent.starts_with(received), "to the {to}: other bytes");
    Received {
        theirs: received.len(),
        place: Place::Opaque,
        ..Received::default()
    }
}

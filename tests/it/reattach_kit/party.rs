//! A client or an upstream: its far end of a connection, and what it has sent.

use wsplice::tunnel::Side;

use crate::support::{
    frames::{close, odd, ping, pong},
    pipe::FarEnd,
    sides::from_side,
};

use super::{
    plan::{Loss, Piece},
    reader::{Received, read},
};

/// A client, or an upstream of a client.
#[derive(Clone)]
pub(super) struct Party {
    side: Side,
    /// The beginning of its texts and of the payloads of its pings.
    name: String,
    pub(super) far: FarEnd,
    /// Bytes that were not sent yet.
    kept: Vec<u8>,
    /// The bytes of all frames so far, those that were kept too.
    made: usize,
    /// Each text, and the number of bytes up to its end.
    texts: Vec<(String, usize)>,
    pub(super) pings: Vec<Vec<u8>>,
    /// Payloads of pongs without a ping.
    pub(super) stray_pongs: Vec<Vec<u8>>,
    answered: usize,
    pub(super) close: Option<u16>,
    /// Where its close frame ends.
    closed_at: Option<usize>,
    /// Whether it never kept the tunnel from writing.
    pub(super) took_all: bool,
}

impl Party {
    pub(super) fn new(side: Side, name: String, far: FarEnd) -> Self {
        Self {
            side,
            name,
            far,
            kept: Vec::new(),
            made: 0,
            texts: Vec::new(),
            pings: Vec::new(),
            stray_pongs: Vec::new(),
            answered: 0,
            close: None,
            closed_at: None,
            took_all: true,
        }
    }

    /// Bytes that the party has received since the handshake.
    pub(super) fn received(&self) -> Received {
        let state = self.far.state();
        let from = head_len(&state.received).unwrap_or(state.received.len());
        read(self.side, &state.received[from..])
    }

    /// The frames that were sent since the handshake.
    pub(super) fn sent_frames(&self) -> Received {
        let state = self.far.state();
        let from = head_len(&state.sent).unwrap_or(state.sent.len());
        let receiver = match self.side {
            Side::Client => Side::Upstream,
            _ => Side::Client,
        };
        read(receiver, &state.sent[from..])
    }

    /// Whether the party can send and takes all, so that it answers what comes.
    pub(super) fn answers(&self) -> bool {
        let state = self.far.state();
        let is_connected = state.dropped_at.or(state.end_seen).is_none() && !state.reset;
        is_connected && self.took_all && self.close.is_none() && self.kept.is_empty()
    }

    /// The texts that were sent whole.
    pub(super) fn sent(&self) -> Vec<&str> {
        let sent = self.sent_len();
        let whole = self.texts.iter().filter(|(_, end)| *end <= sent);
        whole.map(|(text, _)| &**text).collect()
    }

    /// The bytes that were sent since the handshake.
    pub(super) fn sent_len(&self) -> usize {
        let state = self.far.state();
        state.sent.len() - head_len(&state.sent).unwrap_or(state.sent.len())
    }

    /// Whether the tunnel has read the close frame, or seen the end of this side.
    pub(super) fn has_ended(&self) -> bool {
        let state = self.far.state();
        let head = head_len(&state.sent).unwrap_or_default();
        let is_read = |end: usize| state.read_len() >= head + end;
        state.end_seen.is_some() || self.closed_at.is_some_and(is_read)
    }

    /// Makes a piece, and sends the bytes that were kept and it, but for the last `kept` ones.
    pub(super) fn send(&mut self, piece: Piece, kept: usize) {
        if self.close.is_some() {
            return self.flush(kept);
        }
        let number = self.texts.len() + self.pings.len() + self.stray_pongs.len();
        let name = format!("{} {number}", self.name);
        match piece {
            Piece::Text(padding, parts) => {
                let text = format!("{name} {}", "x".repeat(padding));
                self.make_text(&text, parts);
            }
            Piece::Ping => self.make_ping(name),
            Piece::Pong => {
                let bytes = from_side(self.side, pong(name.as_bytes()));
                self.make(&bytes);
                self.stray_pongs.push(name.into_bytes());
            }
        }
        self.flush(kept);
    }

    fn make_text(&mut self, text: &str, parts: usize) {
        let len = text.len().div_ceil(parts);
        let pieces: Vec<_> = text.as_bytes().chunks(len).collect();
        for (at, piece) in pieces.iter().enumerate() {
            let is_last = at + 1 == pieces.len();
            let first = u8::from(at == 0) | if is_last { 0x80 } else { 0 };
            let bytes = from_side(self.side, odd(first, piece));
            self.make(&bytes);
            if at == 0 && !is_last {
                self.make_ping(format!("{} within", &text[..text.len().min(20)]));
            }
        }
        self.texts.push((text.to_owned(), self.made));
    }

    fn make_ping(&mut self, payload: String) {
        let bytes = from_side(self.side, ping(payload.as_bytes()));
        self.make(&bytes);
        self.pings.push(payload.into_bytes());
    }

    fn make(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        self.made += bytes.len();
    }

    /// Sends the bytes that were kept, but for the last so many.
    pub(super) fn flush(&mut self, kept: usize) {
        let len = self.kept.len().saturating_sub(kept);
        self.far.send(&self.kept[..len]);
        self.kept.drain(..len);
    }

    /// Answers the pings that came, and a close frame.
    pub(super) fn answer(&mut self) {
        let received = self.received();
        if self.close.is_some() {
            return self.flush(0);
        }
        for ping in &received.pings[self.answered..] {
            let bytes = from_side(self.side, pong(ping));
            self.make(&bytes);
        }
        self.answered = received.pings.len();
        match received.close {
            Some(_) => self.close_with(1000),
            None => self.flush(0),
        }
    }

    pub(super) fn lose(&mut self, loss: Loss) {
        match loss {
            Loss::Finish => self.far.finish(),
            Loss::Reset => self.far.reset(),
            Loss::Close(code) => self.close_with(code),
            Loss::CloseAndFinish(code) => {
                self.close_with(code);
                self.far.finish();
            }
            Loss::Truncate(len) => {
                if self.close.is_none() {
                    let bytes = from_side(self.side, odd(0x01, b"a message that is cut"));
                    self.make(&bytes[..len.min(bytes.len())]);
                }
                self.flush(0);
                self.far.finish();
            }
        }
    }

    fn close_with(&mut self, code: u16) {
        if self.close.is_none() {
            let bytes = from_side(self.side, close(code, ""));
            self.make(&bytes);
            self.close = Some(code);
            self.closed_at = Some(self.made);
        }
        self.flush(0);
    }
}

/// The length of the head of a request or response.
fn head_len(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

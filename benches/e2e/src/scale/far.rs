//! A thread of a far end: its connections, and the pings and close frames that come on them.

use std::{
    io::{self, Read, Write},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use mio::{Interest, Poll, Token, net::TcpStream};
use serde_json::{Value, json};
use wsplice::frame::{ControlFrame, OpCode};

/// Events of a far end, from all of its threads.
#[derive(Default)]
pub struct Counts {
    /// Handshakes that succeeded.
    pub opened: AtomicU64,
    /// Pings that were answered.
    pub pongs: AtomicU64,
    /// Close frames that came.
    pub closes: AtomicU64,
    /// Connections that ended after their handshake.
    pub ended: AtomicU64,
    /// Connections that failed before, or without a close frame.
    pub failures: AtomicU64,
}

impl Counts {
    pub fn json(&self) -> Value {
        let of = |count: &AtomicU64| count.load(Relaxed);
        json!({
            "opened": of(&self.opened),
            "pongs": of(&self.pongs),
            "closes": of(&self.closes),
            "ended": of(&self.ended),
            "failures": of(&self.failures),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Connecting,
    /// Until the head of the other end has come.
    Handshake,
    Open,
    /// A close frame has come, and was answered.
    Closing,
}

/// The connections of a thread, by their tokens.
pub struct Connections {
    poll: Poll,
    slots: Vec<Option<(TcpStream, State)>>,
    free: Vec<u32>,
    /// Key of the frames that are sent, those of a client (RFC 6455 §5.1).
    mask: Option<[u8; 4]>,
}

/// The end of a readable connection's bytes at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Goes,
    Ended,
}

impl Connections {
    pub fn new(mask: Option<[u8; 4]>) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            slots: Vec::new(),
            free: Vec::new(),
            mask,
        })
    }

    pub const fn poll(&mut self) -> &mut Poll {
        &mut self.poll
    }

    pub fn add(&mut self, mut stream: TcpStream, state: State) -> io::Result<()> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let interest = match state {
            State::Connecting => Interest::READABLE | Interest::WRITABLE,
            _ => Interest::READABLE,
        };
        let registry = self.poll.registry();
        registry.register(&mut stream, Token(slot as usize), interest)?;
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some((stream, state));
        }
        Ok(())
    }

    pub fn get(&mut self, token: Token) -> Option<&mut (TcpStream, State)> {
        self.slots.get_mut(token.0)?.as_mut()
    }

    /// Closes a connection.
    pub fn remove(&mut self, token: Token) {
        if self.slots.get_mut(token.0).and_then(Option::take).is_some() {
            self.free.extend(u32::try_from(token.0));
        }
    }

    /// Reads the control frames of an open connection, and answers them.
    pub fn serve(&mut self, token: Token, counts: &Counts) -> Outcome {
        let mask = self.mask;
        let Some((stream, state)) = self.get(token) else {
            return Outcome::Goes;
        };
        loop {
            let mut buffer = [0; 1024];
            match stream.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Outcome::Goes,
                Err(_) | Ok(0) => return Outcome::Ended,
                Ok(read) => match answers(&buffer[..read], mask, counts) {
                    Some((bytes, is_closed)) => {
                        if is_closed {
                            *state = State::Closing;
                        }
                        if stream.write_all(&bytes).is_err() {
                            return Outcome::Ended;
                        }
                    }
                    None => return Outcome::Ended,
                },
            }
        }
    }
}

/// The answers to these control frames, and whether one of them is a close frame. `None` for bytes that
/// are not whole control frames, which no quiet tunnel carries.
fn answers(mut bytes: &[u8], mask: Option<[u8; 4]>, counts: &Counts) -> Option<(Vec<u8>, bool)> {
    let (mut out, mut is_closed) = (Vec::new(), false);
    while !bytes.is_empty() {
        let (frame, len) = ControlFrame::parse(bytes).ok()??;
        bytes = bytes.get(len..)?;
        if let Some(pong) = frame.answer() {
            out.extend_from_slice(&pong.encode(mask));
            counts.pongs.fetch_add(1, Relaxed);
        } else if frame.opcode() == OpCode::CLOSE {
            out.extend_from_slice(&frame.encode(mask));
            counts.closes.fetch_add(1, Relaxed);
            is_closed = true;
        }
    }
    Some((out, is_closed))
}

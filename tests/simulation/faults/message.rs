//! Numbered messages.

use std::fmt;

/// A message, with content that follows from its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    /// The tunnel for a client's message and its echo, the leg for an upstream's own.
    pub(crate) stream: u32,
    pub(crate) number: u32,
    pub(crate) len: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From the client.
    Sent,
    /// The upstream's response to it.
    Echo,
    /// The upstream's own.
    Push,
}

/// The messages of one direction and stream, as they arrive.
#[derive(Debug, Default)]
pub(crate) struct Order {
    stream: Option<u32>,
    last: u32,
}

/// The messages between the last one and this one have not arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing(pub(crate) u32);

const HEAD: usize = 13;

impl Message {
    pub(crate) fn encode(self) -> Vec<u8> {
        let kind = match self.kind {
            Kind::Sent => 0,
            Kind::Echo => 1,
            Kind::Push => 2,
        };
        let mut bytes = vec![kind];
        for field in [self.stream, self.number, self.len] {
            bytes.extend(field.to_be_bytes());
        }
        bytes.extend((0..self.len).map(|at| self.byte(at)));
        bytes
    }

    /// Reads a message.
    ///
    /// # Errors
    ///
    /// When a byte of it is not as it was sent.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let field = |at: usize| {
            let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_be_bytes(bytes))
        };
        let kind = match bytes.first() {
            Some(0) => Kind::Sent,
            Some(1) => Kind::Echo,
            Some(2) => Kind::Push,
            _ => return Err("a message without a kind".into()),
        };
        let (Some(stream), Some(number), Some(len)) = (field(1), field(5), field(9)) else {
            return Err("a message without a head".into());
        };
        let message = Self {
            kind,
            stream,
            number,
            len,
        };
        let body = bytes.get(HEAD..).unwrap_or_default();
        let is_whole = body.len() == len as usize
            && (0..).zip(body).all(|(at, byte)| *byte == message.byte(at));
        is_whole
            .then_some(message)
            .ok_or_else(|| format!("{message} is not as it was sent"))
    }

    fn byte(self, at: u32) -> u8 {
        (self.number.wrapping_mul(31) ^ self.stream ^ at.wrapping_mul(7)) as u8
    }
}

impl Order {
    /// Takes the next message of this stream.
    ///
    /// # Errors
    ///
    /// When it has come before, or comes after a later one.
    pub(crate) fn next(&mut self, message: Message) -> Result<Missing, String> {
        if self.stream.is_some_and(|stream| message.stream < stream) {
            return Err(format!("{message} comes after stream {:?}", self.stream));
        }
        if self.stream != Some(message.stream) {
            *self = Self {
                stream: Some(message.stream),
                last: 0,
            };
        }
        if message.number <= self.last {
            return Err(format!("{message} comes after number {}", self.last));
        }
        let missing = message.number - self.last - 1;
        self.last = message.number;
        Ok(Missing(missing))
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            stream,
            number,
            len,
        } = self;
        write!(f, "{kind:?} {stream}/{number} of {len} bytes")
    }
}

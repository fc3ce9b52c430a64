//! The client's messages, as the host sees them.

use std::{fmt, mem, sync::Arc};

use crate::{
    frame::{FrameHeader, OpCode, Rsv},
    tunnel::info::TunnelInfo,
};

use super::recording::append_unmasked;

/// Message of a client that its upstream was given, as [`Reattach::tap`](crate::tunnel::reattach::Reattach::tap) shows
/// it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientMessage {
    opcode: OpCode,
    size: u64,
    bytes: Vec<u8>,
    encoding: Encoding,
}

/// Whether a message is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Plain,
    /// RSV1 is set in the first frame (RFC 7692 §6).
    Compressed,
}

/// The host's function that sees the messages of clients.
#[derive(Clone)]
pub(in crate::tunnel) struct Tap {
    max_bytes: usize,
    show: Arc<Show>,
}

type Show = dyn Fn(&TunnelInfo, &ClientMessage) + Send + Sync;

/// Collector of the messages for a tap.
#[derive(Debug)]
pub(super) struct Collector {
    max_bytes: usize,
    /// The message of which frames have come.
    begun: Option<ClientMessage>,
    whole: Vec<ClientMessage>,
}

impl ClientMessage {
    /// A message of this kind and payload, for tests of a host's tap.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{frame::OpCode, tunnel::reattach::ClientMessage};
    ///
    /// let message = ClientMessage::new(OpCode::TEXT, r#"{"type":"connection_init"}"#);
    /// assert_eq!((message.size(), message.is_whole()), (26, true));
    /// ```
    pub fn new(opcode: OpCode, payload: impl Into<Vec<u8>>) -> Self {
        let bytes = payload.into();
        Self {
            opcode,
            size: bytes.len() as u64,
            bytes,
            encoding: Encoding::Plain,
        }
    }

    /// Returns the kind of the message: [`OpCode::TEXT`] or [`OpCode::BINARY`], unless the endpoints
    /// use reserved ones.
    #[must_use]
    pub const fn opcode(&self) -> OpCode {
        self.opcode
    }

    /// Returns the size of the payload in bytes, as it was sent.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns the payload up to the bound of the tap, without its mask; nothing of a [compressed
    /// message](Self::is_compressed).
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether [`bytes`](Self::bytes) has the whole payload.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.encoding == Encoding::Plain && self.bytes.len() as u64 == self.size
    }

    /// Whether the message is compressed (RFC 7692 §6).
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.encoding == Encoding::Compressed
    }
}

/// Leaves out the payload, which may be secret.
impl fmt::Debug for ClientMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientMessage")
            .field("opcode", &self.opcode)
            .field("size", &self.size)
            .field("encoding", &self.encoding)
            .finish_non_exhaustive()
    }
}

impl Tap {
    pub(super) fn new(max_bytes: usize, show: Arc<Show>) -> Self {
        Self { max_bytes, show }
    }

    /// Calls the host's function.
    pub(in crate::tunnel) fn show(&self, tunnel: &TunnelInfo, message: &ClientMessage) {
        (self.show)(tunnel, message);
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap")
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

impl Collector {
    pub(super) const fn new(tap: &Tap) -> Self {
        Self {
            max_bytes: tap.max_bytes,
            begun: None,
            whole: Vec::new(),
        }
    }

    /// Takes the messages that are whole.
    pub(super) fn take(&mut self) -> Vec<ClientMessage> {
        mem::take(&mut self.whole)
    }

    /// Takes the header of a data frame.
    pub(super) fn begin(&mut self, header: &FrameHeader) {
        let message = self
            .begun
            .get_or_insert_with(|| ClientMessage::new(header.opcode(), Vec::new()));
        if header.rsv().bits() & Rsv::RSV1.bits() != 0 {
            message.encoding = Encoding::Compressed;
        }
        message.size = message.size.saturating_add(header.payload_len());
    }

    /// Takes a piece of the payload of the latest frame, which begins at `offset` in it.
    pub(super) fn payload(&mut self, header: &FrameHeader, piece: &[u8], offset: u64) {
        let Some(message) = &mut self.begun else {
            return;
        };
        if message.encoding == Encoding::Plain {
            let room = self.max_bytes.saturating_sub(message.bytes.len());
            let piece = piece.get(..room.min(piece.len())).unwrap_or_default();
            append_unmasked(&mut message.bytes, header, piece, offset);
        }
    }

    /// Notes the end of a data frame.
    pub(super) fn end(&mut self, header: &FrameHeader) {
        if header.fin() {
            self.whole.extend(self.begun.take());
        }
    }
}

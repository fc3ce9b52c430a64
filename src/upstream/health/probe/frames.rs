//! The client's end of a WebSocket, as far as a probe needs it.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    frame::{
        CloseCode, ControlFrame, FrameHeader, MAX_CONTROL_LEN, MAX_HEADER_LEN, OpCode, Rsv, Rules,
        mask,
    },
    net::transport::Transport,
};

use super::{ProbeFailure, ProbeTarget};

/// The longest text that is looked at, in bytes. Of a longer one only this much is.
const TEXT_LIMIT: usize = 64 * 1024;

/// A WebSocket that stands.
pub(super) struct Frames<'a> {
    transport: Transport,
    target: &'a ProbeTarget,
    read: BytesMut,
    rules: Rules,
    /// The text that is being received, while there is one.
    text: Option<Vec<u8>>,
}

/// What came.
#[derive(Debug)]
pub(super) enum Received {
    /// A whole text, over all its fragments.
    Text(Vec<u8>),
    Pong(ControlFrame),
    /// The upstream's close; nothing follows it.
    Close(Option<CloseCode>),
}

impl<'a> Frames<'a> {
    /// Begins after the handshake, with what was read behind it.
    pub(super) fn new(transport: Transport, read_ahead: &[u8], target: &'a ProbeTarget) -> Self {
        Self {
            transport,
            target,
            read: BytesMut::from(read_ahead),
            rules: Rules::upstream_to_client(Rsv::NONE),
            text: None,
        }
    }

    pub(super) async fn send_control(&mut self, frame: &ControlFrame) -> Result<(), ProbeFailure> {
        self.send(&frame.encode(Some(masking_key()))).await
    }

    pub(super) async fn send_text(&mut self, text: &str) -> Result<(), ProbeFailure> {
        let header = FrameHeader::new(OpCode::TEXT, text.len() as u64)
            .map_err(|error| ProbeFailure::Violation(error.into()))?;
        // RFC 6455 §5.1: a client masks every frame.
        let key = masking_key();
        let mut wire = header.masked(key).encode().to_vec();
        let payload = wire.len();
        wire.extend_from_slice(text.as_bytes());
        mask::apply(wire.get_mut(payload..).unwrap_or_default(), key, 0);
        self.send(&wire).await
    }

    /// What comes next. Pings are answered on the way, binary messages passed over.
    pub(super) async fn next(&mut self) -> Result<Received, ProbeFailure> {
        loop {
            let header = self.header().await?;
            self.rules.check(&header).map_err(ProbeFailure::Violation)?;
            if !header.opcode().is_control() {
                if let Some(text) = self.data(&header).await? {
                    return Ok(Received::Text(text));
                }
                continue;
            }
            let frame = self.control().await?;
            match frame.opcode() {
                OpCode::CLOSE => return Ok(Received::Close(frame.close_code())),
                OpCode::PONG => return Ok(Received::Pong(frame)),
                _ => {
                    if let Some(pong) = frame.answer() {
                        self.send_control(&pong).await?;
                    }
                }
            }
        }
    }

    /// Ends our direction. What becomes of the connection after that is no longer of interest.
    pub(super) async fn shutdown(&mut self) {
        let _ = self.transport.shutdown().await;
    }

    /// The next frame's header, left in front of its payload.
    async fn header(&mut self) -> Result<FrameHeader, ProbeFailure> {
        loop {
            let start = self.read.get(..MAX_HEADER_LEN).unwrap_or(&self.read);
            match FrameHeader::parse(start) {
                Ok(Some(header)) => return Ok(header),
                Ok(None) => self.fill().await?,
                Err(error) => return Err(ProbeFailure::Violation(error.into())),
            }
        }
    }

    async fn control(&mut self) -> Result<ControlFrame, ProbeFailure> {
        loop {
            // Its header has been read as that of a control frame, so there is no other error.
            let start = self.read.get(..MAX_CONTROL_LEN).unwrap_or(&self.read);
            match ControlFrame::parse(start) {
                Ok(Some((frame, len))) => {
                    self.read.advance(len.min(self.read.len()));
                    return Ok(frame);
                }
                Ok(None) => self.fill().await?,
                Err(error) => return Err(ProbeFailure::other(error.to_string())),
            }
        }
    }

    /// Takes a data frame off; the text, if it completes one.
    async fn data(&mut self, header: &FrameHeader) -> Result<Option<Vec<u8>>, ProbeFailure> {
        self.read.advance(usize::from(header.header_len()));
        if header.opcode() == OpCode::TEXT {
            self.text = Some(Vec::new());
        }
        let mut remaining = header.payload_len();
        while remaining > 0 {
            if self.read.is_empty() {
                self.fill().await?;
            }
            // The minimum is at most what is in the buffer, so the cast loses nothing.
            let len = remaining.min(self.read.len() as u64) as usize;
            let piece = self.read.split_to(len);
            remaining -= len as u64;
            if let Some(text) = &mut self.text {
                let room = TEXT_LIMIT.saturating_sub(text.len());
                text.extend(piece.iter().take(room));
            }
        }
        if header.fin() {
            Ok(self.text.take())
        } else {
            Ok(None)
        }
    }

    async fn fill(&mut self) -> Result<(), ProbeFailure> {
        match self.transport.read_buf(&mut self.read).await {
            Ok(0) | Err(_) => Err(self.lost()),
            Ok(_) => Ok(()),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), ProbeFailure> {
        let sent: io::Result<()> = async {
            self.transport.write_all(bytes).await?;
            self.transport.flush().await
        }
        .await;
        sent.map_err(|_| self.lost())
    }

    fn lost(&self) -> ProbeFailure {
        ProbeFailure::Lost(self.target.current_step())
    }
}

/// A key that nobody can foresee (RFC 6455 §5.3), although what we mask is our own.
fn masking_key() -> [u8; 4] {
    let [a, b, c, d, ..] = unforeseeable();
    [a, b, c, d]
}

/// Bytes that nobody can foresee.
pub(super) fn unforeseeable() -> [u8; 8] {
    use std::hash::{BuildHasher, RandomState};
    // SipHash under a key from the operating system.
    RandomState::new().hash_one(fastrand::u64(..)).to_ne_bytes()
}

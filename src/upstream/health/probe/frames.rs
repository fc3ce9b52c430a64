//! Minimal WebSocket client for probes.

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

use super::{failure::ProbeFailure, target::ProbeTarget};

/// Maximum number of bytes of a text message that are compared.
const TEXT_LIMIT: usize = 64 * 1024;

/// Established WebSocket of a probe.
pub(super) struct Frames<'a> {
    transport: Transport,
    target: &'a ProbeTarget,
    read: BytesMut,
    rules: Rules,
    /// Text message that is being received, if any.
    text: Option<Vec<u8>>,
}

/// Message or control frame from the upstream.
#[derive(Debug)]
pub(super) enum Received {
    /// A whole text message, from all its fragments.
    Text(Vec<u8>),
    Pong(ControlFrame),
    /// The upstream's close frame; nothing follows it.
    Close(Option<CloseCode>),
}

impl<'a> Frames<'a> {
    /// Creates the client after the handshake, with the bytes that were read behind it.
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

    /// Receives the next text, pong or close. Pings are answered with a pong, binary messages
    /// skipped.
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

    /// Shuts down the write direction. The connection's further course does not matter.
    pub(super) async fn shutdown(&mut self) {
        let _ = self.transport.shutdown().await;
    }

    /// Reads the next frame's header, which stays in the buffer.
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
            // The header has been parsed as a control frame's, so other errors are impossible.
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

    /// Consumes a data frame; returns the text if the frame completes one.
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
            // The minimum is at most the length of the buffer, so the cast loses nothing.
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

/// Returns an unpredictable masking key (RFC 6455 §5.3), although the masked payload is our own.
fn masking_key() -> [u8; 4] {
    let [a, b, c, d, ..] = unpredictable_bytes();
    [a, b, c, d]
}

/// Returns unpredictable bytes.
pub(super) fn unpredictable_bytes() -> [u8; 8] {
    use std::hash::{BuildHasher, RandomState};
    // SipHash under a key from the operating system.
    RandomState::new().hash_one(fastrand::u64(..)).to_ne_bytes()
}

#[cfg(test)]
mod tests;

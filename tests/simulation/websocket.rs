//! The parts of HTTP and WebSocket that the far ends need.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wsplice::frame::{
    CloseCode, ControlFrame, FrameHeader, MAX_CONTROL_LEN, MAX_HEADER_LEN, OpCode, mask,
};

use super::link::End;

/// The far end of a leg, from the opening handshake on.
#[derive(Debug)]
pub(crate) struct WebSocket {
    end: End,
    read: Vec<u8>,
    mask: Option<[u8; 4]>,
}

/// A received frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Data(Vec<u8>),
    Ping(ControlFrame),
    Pong,
    Close(Option<CloseCode>),
}

impl WebSocket {
    /// A client's end: it masks (RFC 6455 §5.1).
    pub(crate) fn client(end: End) -> Self {
        Self::new(end, Some([0x37, 0xfa, 0x21, 0x3d]))
    }

    /// A server's end.
    pub(crate) fn server(end: End) -> Self {
        Self::new(end, None)
    }

    fn new(end: End, mask: Option<[u8; 4]>) -> Self {
        Self {
            end,
            read: Vec::new(),
            mask,
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.end.write_all(bytes).await
    }

    /// Reads a head, up to its empty line.
    pub(crate) async fn head(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.read.split_off(at + 4);
                let head = std::mem::replace(&mut self.read, rest);
                return String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData.into());
            }
            if self.end.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next frame; `None` at the end of the connection.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            if self.end.read_buf(&mut self.read).await? == 0 {
                return Ok(None);
            }
        }
    }

    pub(crate) async fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut header =
            FrameHeader::new(OpCode::BINARY, payload.len() as u64).map_err(io::Error::other)?;
        let mut payload = payload.to_vec();
        if let Some(key) = self.mask {
            header = header.masked(key);
            mask::apply(&mut payload, key, 0);
        }
        self.write(&[&header.encode(), &*payload].concat()).await
    }

    pub(crate) async fn control(&mut self, frame: &ControlFrame) -> io::Result<()> {
        let frame = frame.encode(self.mask);
        self.write(&frame).await
    }

    pub(crate) async fn close(&mut self, code: CloseCode) -> io::Result<()> {
        self.control(&ControlFrame::close(code, "")).await
    }

    pub(crate) async fn shutdown(&mut self) {
        // Shutting down this stream never fails.
        let _ = self.end.shutdown().await;
    }

    fn take(&mut self) -> io::Result<Option<Frame>> {
        let start = &self.read[..self.read.len().min(MAX_HEADER_LEN)];
        let Some(header) = FrameHeader::parse(start).map_err(io::Error::other)? else {
            return Ok(None);
        };
        if header.opcode().is_control() {
            return self.take_control();
        }
        let (head, whole) = (
            usize::from(header.header_len()),
            header.frame_len() as usize,
        );
        if self.read.len() < whole {
            return Ok(None);
        }
        let mut payload: Vec<u8> = self.read.drain(..whole).skip(head).collect();
        if let Some(key) = header.mask() {
            mask::apply(&mut payload, key, 0);
        }
        Ok(Some(Frame::Data(payload)))
    }

    fn take_control(&mut self) -> io::Result<Option<Frame>> {
        let start = &self.read[..self.read.len().min(MAX_CONTROL_LEN)];
        let Some((frame, len)) = ControlFrame::parse(start).map_err(io::Error::other)? else {
            return Ok(None);
        };
        self.read.drain(..len);
        Ok(Some(match frame.opcode() {
            OpCode::PING => Frame::Ping(frame),
            OpCode::CLOSE => Frame::Close(frame.close_code()),
            _ => Frame::Pong,
        }))
    }
}

/// The value of a line of a head; `name` in lower case.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (line_name, value) = line.split_once(':')?;
        line_name.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

//! Replay of bytes already read, so that hyper can parse the response.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::transport::Transport;

/// A stream on which the request was sent and a part of the response was read.
///
/// Writes are discarded: hyper writes the same request once more. Reads return the bytes already
/// read, and then those of the stream.
#[derive(Debug)]
pub(super) struct Replay {
    transport: Transport,
    read: Bytes,
    is_request_written: bool,
    reader: Option<Waker>,
}

impl Replay {
    pub(super) const fn new(transport: Transport, read: Bytes) -> Self {
        Self {
            transport,
            read,
            is_request_written: false,
            reader: None,
        }
    }

    fn discard(&mut self, len: usize) -> Poll<io::Result<usize>> {
        self.is_request_written = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(len))
    }
}

impl AsyncRead for Replay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // hyper takes a response before the request for an error.
        if !self.is_request_written {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.read.is_empty() {
            return Pin::new(&mut self.transport).poll_read(cx, buf);
        }
        let len = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read[..len]);
        self.read.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replay {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.discard(bytes.len())
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

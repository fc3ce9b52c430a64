//! A stream whose writes never fail before its reads do, and that records whether bytes came.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::transport::Transport;

/// A connection to an upstream that may respond before it has read the whole request.
///
/// The upstream may close the connection right after that response, so that writes fail while the
/// response still waits to be read (RFC 9112 §9.6). After a failed write nothing more is written,
/// and the end of the connection is reported by reads, after the bytes before it.
#[derive(Debug)]
pub(super) struct DeferWriteErrors {
    transport: Transport,
    write_failed: bool,
    received: Received,
}

/// Whether a byte was read from a connection since the last request.
#[derive(Clone, Debug, Default)]
pub(super) struct Received(Arc<AtomicBool>);

impl Received {
    /// Forgets the bytes before a request.
    pub(super) fn reset(&self) {
        self.0.store(false, Ordering::Release);
    }

    pub(super) fn any(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl DeferWriteErrors {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            transport,
            write_failed: false,
            received: Received::default(),
        }
    }

    /// Returns the record of whether bytes came.
    pub(super) fn received(&self) -> Received {
        self.received.clone()
    }

    fn defer<T>(&mut self, cx: &Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(Err(_)) => {
                self.write_failed = true;
                // The task that writes must read now.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            result => result,
        }
    }
}

impl AsyncRead for DeferWriteErrors {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.transport).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.received.0.store(true, Ordering::Release);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for DeferWriteErrors {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.write_failed {
            return Poll::Pending;
        }
        let result = Pin::new(&mut self.transport).poll_write(cx, bytes);
        self.defer(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.write_failed {
            return Poll::Pending;
        }
        let result = Pin::new(&mut self.transport).poll_write_vectored(cx, slices);
        self.defer(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_failed {
            return Poll::Pending;
        }
        let result = Pin::new(&mut self.transport).poll_flush(cx);
        self.defer(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;

    #[tokio::test]
    async fn received_bytes_are_read_after_a_write_error() {
        let (near, mut far) = duplex(64);
        far.write_all(b"413").await.unwrap();
        drop(far);
        let mut stream = DeferWriteErrors::new(Transport::new(near));
        let mut write = task::spawn(async { stream.write_all(b"more").await });
        assert_pending!(write.poll());
        assert!(write.is_woken());
        drop(write);
        let mut received = String::new();
        let read = task::spawn(stream.read_to_string(&mut received)).poll();
        assert_ready!(read).unwrap();
        assert_eq!(received, "413");
    }
}

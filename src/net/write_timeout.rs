//! A stream whose writes must make progress.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Stream that fails when it can write nothing for too long. Hosts put it around their clients'
/// sockets.
///
/// A server that writes a response to a client that does not read waits for the socket, without a
/// bound: neither hyper nor axum has a timeout for it. This wrapper bounds that wait. As soon as a
/// write, a flush or a shutdown has to wait, a timer runs; it wakes the task of the connection by
/// itself, so traffic is not needed. Any progress stops the timer; a flush that succeeds while a
/// write waits is none, because a flush concerns the bytes that were taken before. Reads are not
/// bounded: a quiet client is no fault.
///
/// Put it directly around the socket, below TLS. A
/// [tunnel](crate::connect::Transport::from_upgraded) takes the plain socket out of it, and has a
/// [write timeout](crate::TunnelConfig::write_timeout) of its own.
///
/// # Errors
///
/// [`io::ErrorKind::TimedOut`] when the time is over, and for each further write that makes no
/// progress.
///
/// # Panics
///
/// The stream must be polled within a tokio runtime that has a timer.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tokio::net::TcpStream;
/// use wsplice::accept::WriteTimeout;
///
/// fn bounded(client: TcpStream) -> WriteTimeout<TcpStream> {
///     WriteTimeout::new(client, Duration::from_secs(60))
/// }
/// ```
#[derive(Debug)]
pub struct WriteTimeout<S> {
    stream: S,
    limit: Duration,
    /// Timer that runs while an operation waits. Not held while none does.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the last write waits.
    is_write_waiting: bool,
}

impl<S> WriteTimeout<S> {
    /// Bounds the time in which a write makes no progress.
    pub const fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            timer: None,
            is_write_waiting: false,
        }
    }

    /// Returns a reference to the stream.
    pub const fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Returns the stream, without the limit.
    pub fn into_inner(self) -> S {
        self.stream
    }

    /// Bounds a write, and notes whether it waits.
    fn bound_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.is_write_waiting = written.is_pending();
        self.bounded(cx, written)
    }

    /// Stops the timer if the operation has made progress, and polls it otherwise.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            if !self.is_write_waiting {
                self.timer = None;
            }
            return result;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !timer.is_elapsed() {
            ready!(timer.as_mut().poll(cx));
        }
        let error = format!("the other end took nothing for {limit:?}");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, error)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bound_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bound_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.bounded(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::Instant,
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_write_that_waits_for_a_peer_that_does_not_read_fails_without_traffic() {
        let (near, _far) = duplex(8);
        let mut near = WriteTimeout::new(near, LIMIT);
        let began = Instant::now();
        let error = near.write_all(&[0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), LIMIT);
        let error = near.write_all(&[0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn each_byte_that_is_taken_restarts_the_time() {
        let (near, mut far) = duplex(1);
        let mut near = WriteTimeout::new(near, LIMIT);
        let write = tokio::spawn(async move { near.write_all(b"abcd").await });
        for _ in 0..4 {
            tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
            far.read_u8().await.unwrap();
        }
        write.await.unwrap().unwrap();
    }

    /// A socket has no buffer to flush, so its flush succeeds whether the peer reads or not.
    #[tokio::test(start_paused = true)]
    async fn a_flush_is_no_progress_of_a_write_that_waits() {
        let (near, _far) = duplex(8);
        let mut near = WriteTimeout::new(near, LIMIT);
        near.write_all(&[0; 8]).await.unwrap();
        let began = Instant::now();
        let error = loop {
            let write = tokio::time::timeout(LIMIT / 4, near.write(&[0; 8]));
            if let Ok(result) = write.await {
                break result.unwrap_err();
            }
            near.flush().await.unwrap();
            assert!(began.elapsed() < 2 * LIMIT, "the flushes restart the time");
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_has_no_timer() {
        let (near, mut far) = duplex(8);
        let mut near = WriteTimeout::new(near, LIMIT);
        near.write_all(b"hi").await.unwrap();
        near.flush().await.unwrap();
        assert!(near.timer.is_none());
        tokio::time::sleep(LIMIT * 10).await;
        far.write_all(b"hi").await.unwrap();
        near.read_exact(&mut [0; 2]).await.unwrap();
        near.write_all(b"hi").await.unwrap();
    }
}

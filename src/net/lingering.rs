//! End of a client's HTTP/2 stream.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};

use crate::task;

/// How long the client may take to end its side of a stream once ours has ended.
const LINGER: Duration = Duration::from_secs(5);

/// Bytes that are discarded meanwhile. A client that sends more has its stream reset.
const MAX_DISCARDED: usize = 64 * 1024;

/// Stream that, when it is dropped, ends the proxy's side and waits for the end of the client's.
///
/// hyper ends a stream that is dropped with END_STREAM, and where the client's side is still open with
/// RST_STREAM behind it (RFC 9113 §8.1). What the client sends before it knows of that, be it the end of
/// its own side, belongs to a stream that was reset. h2 ignores it for a second, and of fifty streams at
/// once; beyond that it counts an error of the client, and after 1,024 errors in the life of a connection
/// it ends the connection with all of its tunnels.
#[derive(Debug)]
pub(super) struct Lingering<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> {
    /// `None` only while it is dropped.
    stream: Option<S>,
    /// Whether our side has ended.
    is_shut: bool,
    /// Whether the client's side has ended, or the stream is broken.
    is_over: bool,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Lingering<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream: Some(stream),
            is_shut: false,
            is_over: false,
        }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut S>> {
        let stream = self.stream.as_mut().map(Pin::new);
        stream.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Drop for Lingering<S> {
    fn drop(&mut self) {
        if let (Some(stream), false) = (self.stream.take(), self.is_over) {
            task::run_where_possible(linger(stream, self.is_shut));
        }
    }
}

/// Ends our side, and discards what comes up to the end of the client's.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, mut is_shut: bool) {
    let mut room = MAX_DISCARDED;
    let over = poll_fn(|cx| {
        if !is_shut {
            is_shut = Pin::new(&mut stream).poll_shutdown(cx).is_ready();
        }
        while room > 0 {
            let mut bytes = [0; 1024];
            let mut buf = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut stream).poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                break;
            }
            room = room.saturating_sub(buf.filled().len());
        }
        Poll::Ready(())
    });
    let _ = timeout(LINGER, over).await;
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(self.stream()?.poll_read(cx, buf));
        self.is_over |= read.is_err() || buf.remaining() > 0 && buf.filled().len() == before;
        Poll::Ready(read)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = ready!(self.stream()?.poll_shutdown(cx));
        self.is_shut = true;
        Poll::Ready(shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        runtime::Handle,
        time::Instant,
    };

    use super::*;

    fn pair() -> (Lingering<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(4 * MAX_DISCARDED);
        (Lingering::new(near), far)
    }

    fn alive_tasks() -> usize {
        Handle::current().metrics().num_alive_tasks()
    }

    /// Whether the stream was dropped: writes to its other end fail then.
    async fn is_gone(far: &mut DuplexStream) -> bool {
        far.write_all(b"more").await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn the_client_may_end_its_side_after_ours() {
        let (near, mut far) = pair();
        drop(near);
        assert_eq!(
            far.read(&mut [0; 8]).await.unwrap(),
            0,
            "our side has ended"
        );
        assert!(!is_gone(&mut far).await);
        far.shutdown().await.unwrap();
        let before = Instant::now();
        while alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_end_its_side_has_a_bound() {
        let (near, mut far) = pair();
        drop(near);
        tokio::time::sleep(LINGER - Duration::from_millis(1)).await;
        assert!(!is_gone(&mut far).await);
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(is_gone(&mut far).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_on_is_cut_off() {
        let (near, mut far) = pair();
        drop(near);
        far.write_all(&vec![0; MAX_DISCARDED]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(is_gone(&mut far).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_the_client_has_ended_is_dropped_at_once() {
        let (mut near, mut far) = pair();
        far.shutdown().await.unwrap();
        assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
        drop(near);
        assert_eq!(alive_tasks(), 0);
    }
}

//! The byte stream of a tunnel on a shared connection.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};

use super::connection::StreamGuard;

/// The most bytes of one write: a DATA frame that every receiver must accept
/// (RFC 9113 §4.2).
const MAX_WRITE: usize = 16 * 1024;

/// Byte stream of a tunnel over one HTTP/2 stream.
///
/// An end is `END_STREAM`, in either direction and independently of the other; a reset is
/// [`io::ErrorKind::ConnectionReset`]. Dropped before both directions have ended, the stream is
/// reset with `CANCEL` (RFC 8441 §5 compares that to TCP's RST). The connection's other streams are
/// not affected.
///
/// Unread bytes stay within the stream's window. No more is written than the upstream's window has
/// room for, so nothing piles up either.
pub(crate) struct Stream {
    receiving: RecvStream,
    sending: SendStream<Bytes>,
    /// The rest of a DATA frame.
    unread: Bytes,
    end: End,
    /// After the halves, so that the stream is over when its slot is freed.
    _guard: StreamGuard,
}

/// State of the orderly end of what is sent.
enum End {
    None,
    /// h2 holds `END_STREAM`. The channel is closed when it lets go of the frame.
    Queued(oneshot::Receiver<Infallible>),
    /// The connection has taken `END_STREAM` and all before it, or the stream is over.
    Taken,
}

/// Empty payload of the last DATA frame: dropped when the connection has taken the frame, or when
/// the frame was discarded.
struct LastPayload(
    #[allow(dead_code, reason = "its drop closes the channel")] oneshot::Sender<Infallible>,
);

impl AsRef<[u8]> for LastPayload {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

impl Stream {
    pub(crate) const fn new(
        receiving: RecvStream,
        sending: SendStream<Bytes>,
        guard: StreamGuard,
    ) -> Self {
        Self {
            receiving,
            sending,
            unread: Bytes::new(),
            end: End::None,
            _guard: guard,
        }
    }

    /// Fills the buffer with received bytes.
    fn take(&mut self, buf: &mut ReadBuf<'_>) {
        let len = self.unread.len().min(buf.remaining());
        buf.put_slice(self.unread.get(..len).unwrap_or_default());
        self.unread.advance(len);
        if self.unread.is_empty() {
            // Even empty, the bytes would hold on to the connection's read buffer.
            self.unread = Bytes::new();
        }
        // Releasing fails on a stream that is over, whose last bytes are still good.
        let _ = self.receiving.flow_control().release_capacity(len);
    }

    /// Waits until bytes can be written; returns how many, at most as many as are wanted.
    fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        self.sending.reserve_capacity(wanted);
        loop {
            let capacity = self.sending.capacity();
            if capacity > 0 {
                return Poll::Ready(Ok(capacity.min(wanted)));
            }
            match ready!(self.sending.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Err(self.why_closed(cx))),
            }
        }
    }

    fn why_closed(&mut self, cx: &mut Context<'_>) -> io::Error {
        match self.sending.poll_reset(cx) {
            Poll::Ready(Ok(reason)) => io_error(reason.into()),
            Poll::Ready(Err(error)) => io_error(error),
            Poll::Pending => io::ErrorKind::BrokenPipe.into(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        // Several frames at once: each may have only a few bytes.
        while buf.remaining() > 0 {
            if this.unread.is_empty() {
                match this.receiving.poll_data(cx) {
                    Poll::Ready(Some(Ok(data))) => this.unread = data,
                    // An error or the end will be returned again by the next call.
                    _ if buf.filled().len() > before => break,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(io_error(error))),
                    Poll::Ready(None) => break,
                    Poll::Pending => return Poll::Pending,
                }
            }
            this.take(buf);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let capacity = ready!(this.poll_capacity(cx, bytes.len().min(MAX_WRITE)))?;
        let piece = bytes.get(..capacity).unwrap_or(bytes);
        this.sending
            .send_data(Bytes::copy_from_slice(piece), false)
            .map_err(io_error)?;
        Poll::Ready(Ok(piece.len()))
    }

    /// Flushing is left to the connection.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends the sent direction, and waits until the connection has taken the end: h2 discards what
    /// it still holds of a stream that is dropped before the other direction has ended.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.end {
                End::None => {
                    let (sender, taken) = oneshot::channel();
                    let payload = Bytes::from_owner(LastPayload(sender));
                    // Set first: without its frame, the channel is closed as well.
                    this.end = End::Queued(taken);
                    this.sending.reserve_capacity(0);
                    this.sending.send_data(payload, true).map_err(io_error)?;
                }
                End::Queued(taken) => {
                    let _ = ready!(Pin::new(taken).poll(cx));
                    this.end = End::Taken;
                }
                End::Taken => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// Converts the error of a stream to the one that a socket would return.
pub(crate) fn io_error(error: h2::Error) -> io::Error {
    let kind = match error.get_io() {
        Some(io) => io.kind(),
        None if error.is_reset() => io::ErrorKind::ConnectionReset,
        None if error.is_go_away() => io::ErrorKind::ConnectionAborted,
        // A bare reason is that of a reset.
        None if error.reason().is_some() => io::ErrorKind::ConnectionReset,
        None => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, sync::Arc};

    use h2::{client, server};
    use http::{Request, Response, uri::Scheme};
    use tokio::{
        io::{AsyncWriteExt, DuplexStream, duplex},
        time::Instant,
    };
    use tokio_test::{assert_pending, assert_ready_ok, task};

    use super::{super::connection::Connection, *};

    /// Both ends of a connection, which move nothing unless they are run.
    struct Ends {
        client: client::Connection<DuplexStream, Bytes>,
        server: server::Connection<DuplexStream, Bytes>,
    }

    impl Ends {
        /// Runs both ends until the future is ready.
        async fn run<F: Future>(&mut self, future: F) -> F::Output {
            let mut future = pin!(future);
            poll_fn(|cx| {
                let _ = Pin::new(&mut self.client).poll(cx);
                let _ = self.server.poll_closed(cx);
                future.as_mut().poll(cx)
            })
            .await
        }

        /// Opens a stream: our end, and both halves of the other.
        async fn open() -> (Self, Stream, RecvStream, SendStream<Bytes>) {
            let (near, far) = duplex(64 * 1024);
            let (client, server) = tokio::join!(client::handshake(near), server::handshake(far));
            let ((mut sender, client), server) = (client.unwrap(), server.unwrap());
            let mut ends = Self { client, server };
            let (response, sending) = sender
                .send_request(Request::post("http://a/").body(()).unwrap(), false)
                .unwrap();
            let accepted = poll_fn(|cx| {
                let _ = Pin::new(&mut ends.client).poll(cx);
                ends.server.poll_accept(cx)
            });
            let (request, mut respond) = accepted.await.unwrap().unwrap();
            let answering = respond.send_response(Response::new(()), false).unwrap();
            let receiving = ends.run(response).await.unwrap().into_body();
            let connection = Connection::new(sender, 1, Scheme::HTTP, Instant::now());
            let guard = StreamGuard(Arc::new(connection));
            let stream = Stream::new(receiving, sending, guard);
            (ends, stream, request.into_body(), answering)
        }
    }

    #[tokio::test]
    async fn the_last_bytes_arrive_although_the_stream_is_dropped_behind_its_end() {
        let (mut ends, mut stream, mut received, _answering) = Ends::open().await;
        stream.write_all(b"last").await.unwrap();
        let mut shutdown = task::spawn(stream.shutdown());
        assert_pending!(shutdown.poll(), "h2 still holds the bytes");
        ends.run(shutdown).await.unwrap();
        drop(stream);
        let data = ends.run(received.data()).await.unwrap().unwrap();
        assert_eq!(data, b"last"[..]);
    }

    #[tokio::test]
    async fn the_end_does_not_wait_for_a_connection_that_is_gone() {
        let (ends, mut stream, _received, _answering) = Ends::open().await;
        let mut shutdown = task::spawn(stream.shutdown());
        assert_pending!(shutdown.poll());
        drop(ends);
        assert!(shutdown.is_woken());
        assert_ready_ok!(shutdown.poll());
    }

    #[test]
    fn a_quiet_stream_is_small() {
        assert!(size_of::<Stream>() <= 128, "{}", size_of::<Stream>());
    }

    #[test]
    fn resets_and_breaks_are_told_apart() {
        let reset = io_error(h2::Reason::CANCEL.into());
        assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
    }
}

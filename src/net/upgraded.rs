//! The socket below hyper's upgraded connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

#[cfg(unix)]
use tokio::net::UnixStream;

use super::{transport::Transport, write_timeout::WriteTimeout};

impl Transport {
    /// Unwraps the socket where hyper's own server or hyper-util's auto server holds a plain one,
    /// in a [`WriteTimeout`](crate::WriteTimeout) or not, and returns the bytes that were read ahead behind the handshake.
    ///
    /// All other streams (TLS, HTTP/2, a stream of the host's) are used through hyper, which replays
    /// the read-ahead bytes by itself.
    #[must_use]
    pub fn from_upgraded(upgraded: Upgraded) -> (Self, Bytes) {
        from_upgraded(upgraded)
    }
}

fn from_upgraded(upgraded: Upgraded) -> (Transport, Bytes) {
    let upgraded = match downcast::<TcpStream>(upgraded) {
        Ok((tcp, read_ahead)) => return (tcp.into(), read_ahead),
        Err(upgraded) => upgraded,
    };
    let upgraded = match downcast::<WriteTimeout<TcpStream>>(upgraded) {
        Ok((tcp, read_ahead)) => return (tcp.into_inner().into(), read_ahead),
        Err(upgraded) => upgraded,
    };
    #[cfg(unix)]
    let upgraded = match downcast::<UnixStream>(upgraded) {
        Ok((unix, read_ahead)) => return (unix.into(), read_ahead),
        Err(upgraded) => upgraded,
    };
    (Transport::new(Capped(TokioIo::new(upgraded))), Bytes::new())
}

/// The most bytes of one write to a stream that is not a plain socket: a TLS record. hyper copies
/// all that is written to an HTTP/2 stream before it sends any.
const MAX_WRITE: usize = 16 * 1024;

/// A stream that takes writes in small pieces.
struct Capped(TokioIo<Upgraded>);

impl AsyncRead for Capped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Capped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let piece = bytes.get(..MAX_WRITE).unwrap_or(bytes);
        Pin::new(&mut self.0).poll_write(cx, piece)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Unwraps hyper-util's auto server, which wraps the stream once more and has its own way to get at
/// it; other connections come back as the untouched `Upgraded`.
fn downcast<T>(upgraded: Upgraded) -> Result<(T, Bytes), Upgraded>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    match upgraded.downcast::<TokioIo<T>>() {
        Ok(parts) => Ok((parts.io.into_inner(), unpinned(&parts.read_buf))),
        Err(upgraded) => match auto::upgrade::downcast::<TokioIo<T>>(upgraded) {
            Ok(parts) => Ok((parts.io.into_inner(), unpinned(&parts.read_buf))),
            Err(upgraded) => Err(upgraded),
        },
    }
}

/// Copies the bytes: the original is a window into hyper's 8 KiB read buffer, which it would keep
/// alive.
fn unpinned(read_buf: &Bytes) -> Bytes {
    Bytes::copy_from_slice(read_buf)
}

//! From hyper's upgraded connection back to the socket below it.

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::net::TcpStream;

#[cfg(unix)]
use tokio::net::UnixStream;

use super::Transport;

/// Unwraps the socket where hyper's own server or hyper-util's auto server holds a plain one, and
/// gives the bytes that were read ahead behind the handshake.
///
/// Everything else (TLS, HTTP/2, a stream of the host's) is used through hyper, which replays the
/// read-ahead bytes by itself.
pub(crate) fn from_upgraded(upgraded: Upgraded) -> (Transport, Bytes) {
    let upgraded = match downcast::<TcpStream>(upgraded) {
        Ok((tcp, read_ahead)) => return (tcp.into(), read_ahead),
        Err(upgraded) => upgraded,
    };
    #[cfg(unix)]
    let upgraded = match downcast::<UnixStream>(upgraded) {
        Ok((unix, read_ahead)) => return (unix.into(), read_ahead),
        Err(upgraded) => upgraded,
    };
    (Transport::new(TokioIo::new(upgraded)), Bytes::new())
}

/// hyper-util's auto server wraps the stream once more, so it has its own way to get at it; its
/// answer on other connections is the untouched `Upgraded`.
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

/// A copy of its own size: the original is a window into hyper's 8 KiB read buffer, which it
/// would keep alive.
fn unpinned(read_buf: &Bytes) -> Bytes {
    Bytes::copy_from_slice(read_buf)
}

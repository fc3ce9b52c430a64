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

use super::{lingering::Lingering, transport::Transport, write_timeout::WriteTimeout};

impl Transport {
    /// Unwraps the socket where hyper's own server or hyper-util's auto server holds a plain one,
    /// in a [`WriteTimeout`](crate::accept::WriteTimeout) or not, and returns the bytes that were read ahead
    /// behind the handshake.
    ///
    /// All other streams (TLS, HTTP/2, a stream of the host's) are used through hyper, which
    /// replays the read-ahead bytes by itself.
    #[must_use]
    pub fn from_upgraded(upgraded: Upgraded) -> (Self, Bytes) {
        from_upgraded(upgraded)
    }
}

/// Returns a client's HTTP/2 stream, whose end does not cross that of the client.
pub(super) fn from_http2(upgraded: Upgraded) -> Transport {
    Transport::new(Lingering::new(Capped(TokioIo::new(upgraded))))
}

fn from_upgraded(upgraded: Upgraded) -> (Transport, Bytes) {
    let upgraded = match socket::<TcpStream>(upgraded) {
        Ok(found) => return found,
        Err(upgraded) => upgraded,
    };
    #[cfg(unix)]
    let upgraded = match socket::<UnixStream>(upgraded) {
        Ok(found) => return found,
        Err(upgraded) => upgraded,
    };
    (Transport::new(Capped(TokioIo::new(upgraded))), Bytes::new())
}

/// Unwraps a socket of this type, in a [`WriteTimeout`] or not.
fn socket<S>(upgraded: Upgraded) -> Result<(Transport, Bytes), Upgraded>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + Into<Transport> + 'static,
{
    match downcast::<S>(upgraded) {
        Ok((socket, read_ahead)) => Ok((socket.into(), read_ahead)),
        Err(upgraded) => downcast::<WriteTimeout<S>>(upgraded)
            .map(|(bounded, read_ahead)| (bounded.into_inner().into(), read_ahead)),
    }
}

/// The most bytes of one write to a stream that is not a plain socket: a TLS record. hyper copies
/// all that is written to an HTTP/2 stream before it sends any.
const MAX_WRITE: usize = 16 * 1024;

/// A stream that takes writes in small pieces.
#[derive(Debug)]
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
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
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

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use http::{Request, Response, StatusCode};
    use http_body_util::Empty;
    use hyper::{body::Incoming, server::conn::http1, service::service_fn};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        sync::mpsc,
    };

    use super::*;

    /// Upgrades a connection by hyper's server on this stream, and returns what it is unwrapped to.
    async fn upgrade<S, C>(server: S, mut client: C) -> (Transport, Bytes)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nahead";
        client.write_all(head).await.unwrap();
        let (sender, mut upgrades) = mpsc::unbounded_channel();
        let service = service_fn(|mut request: Request<Incoming>| {
            sender.send(hyper::upgrade::on(&mut request)).unwrap();
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            async { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(server), service);
        connection.with_upgrades().await.unwrap();
        assert!(client.read(&mut [0; 512]).await.unwrap() > 0);
        Transport::from_upgraded(upgrades.recv().await.unwrap().await.unwrap())
    }

    #[tokio::test]
    async fn the_socket_is_found_in_a_write_timeout_too() {
        let limit = Duration::from_secs(60);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        for is_bounded in [false, true] {
            let client = TcpStream::connect(addr).await.unwrap();
            let (tcp, _) = listener.accept().await.unwrap();
            let (transport, read_ahead) = match is_bounded {
                true => upgrade(WriteTimeout::new(tcp, limit), client).await,
                false => upgrade(tcp, client).await,
            };
            assert!(format!("{transport:?}").starts_with("Tcp"), "{transport:?}");
            assert_eq!(read_ahead, "ahead");
        }
        #[cfg(unix)]
        for is_bounded in [false, true] {
            let (unix, client) = UnixStream::pair().unwrap();
            let (transport, read_ahead) = match is_bounded {
                true => upgrade(WriteTimeout::new(unix, limit), client).await,
                false => upgrade(unix, client).await,
            };
            assert!(
                format!("{transport:?}").starts_with("Unix"),
                "{transport:?}"
            );
            assert_eq!(read_ahead, "ahead");
        }
    }
}

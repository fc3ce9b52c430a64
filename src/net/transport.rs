//! The byte stream of one leg, whatever it runs over.
//!
//! A tunnel joins two [`Transport`]s. Plain sockets are kept unboxed, so that the tunnel reads and
//! writes them without a virtual call and can reset them; all other streams (TLS, HTTP/2, in-memory
//! pipes, your own) live in a box.

use std::{
    any::Any,
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

#[cfg(unix)]
use tokio::net::UnixStream;

/// The byte stream of one leg: a TCP or Unix socket, or any other stream in a box.
///
/// # Examples
///
/// ```
/// let (near, _far) = tokio::io::duplex(1024);
/// let transport = wsplice::connect::Transport::new(near);
/// # let _ = transport;
/// ```
pub struct Transport(TransportKind);

enum TransportKind {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    /// The mutex is never locked, only reached through `&mut`: it makes a stream that is only
    /// `Send` (hyper's `Upgraded` is) count as `Sync`.
    Boxed(Mutex<Box<dyn Stream>>),
}

/// The traits of a boxed stream.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Transport {
    /// Wraps a stream. A [`TcpStream`] or [`UnixStream`] is recognized and kept unboxed.
    pub fn new<T>(stream: T) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut slot = Some(stream);
        if let Some(tcp) = take_as::<T, TcpStream>(&mut slot) {
            return Self(TransportKind::Tcp(tcp));
        }
        #[cfg(unix)]
        if let Some(unix) = take_as::<T, UnixStream>(&mut slot) {
            return Self(TransportKind::Unix(unix));
        }
        match slot {
            Some(stream) => Self(TransportKind::Boxed(Mutex::new(Box::new(stream)))),
            // Unreachable: the slot is emptied only where a socket was returned above.
            None => Self(TransportKind::Boxed(Mutex::new(Box::new(
                tokio::io::empty(),
            )))),
        }
    }

    /// Makes the coming drop a reset instead of an orderly end, where the stream has a reset.
    ///
    /// TCP sends RST (`SO_LINGER` with zero seconds); other streams are simply dropped, which for
    /// TLS means without `close_notify`, and for an upstream's HTTP/2 stream `RST_STREAM`.
    ///
    /// A client's HTTP/2 stream cannot be reset: hyper's `Upgraded` offers no way to, and its drop
    /// ends the stream in order (END_STREAM). Bytes still buffered for a client that does not open
    /// its window stay with hyper as long as the host's server keeps the client's connection.
    pub(crate) fn abort_on_drop(&mut self) {
        if let TransportKind::Tcp(tcp) = &self.0 {
            // On failure an ordinary FIN is sent, which is the best that is left to do.
            let _ = tcp.set_zero_linger();
        }
    }

    /// Whether written bytes can wait in a buffer of the stream until it is flushed.
    pub(crate) fn buffers_writes(&self) -> bool {
        matches!(self.0, TransportKind::Boxed(_))
    }

    /// Makes a plain TCP socket send written bytes at once (no Nagle delay).
    pub(crate) fn no_delay(&self) {
        if let TransportKind::Tcp(tcp) = &self.0 {
            // A socket that rejects the option still works.
            let _ = tcp.set_nodelay(true);
        }
    }

    /// Bounds the bytes that the kernel keeps unsent for a plain TCP socket, on systems that can.
    pub(crate) fn notsent_lowat(&self, bytes: u32) {
        #[cfg(any(target_os = "android", target_os = "linux"))]
        if let TransportKind::Tcp(tcp) = &self.0 {
            // A socket that rejects the option still works.
            let _ = socket2::SockRef::from(tcp).set_tcp_notsent_lowat(bytes);
        }
        #[cfg(not(any(target_os = "android", target_os = "linux")))]
        let _ = bytes;
    }

    /// Makes the kernel detect that the other end of a plain TCP socket is gone. Costs three system
    /// calls on Linux.
    pub(crate) fn keep_alive(&self, keep_alive: &TcpKeepAlive) {
        if let TransportKind::Tcp(tcp) = &self.0 {
            // A socket that rejects the option still works.
            let _ = socket2::SockRef::from(tcp).set_tcp_keepalive(&keep_alive.0);
        }
    }
}

/// TCP keep-alive: probes that the kernel sends on a quiet connection.
///
/// They find a peer whose machine is gone. Load balancers that count idle time above TCP do not
/// take them for traffic (AWS documents that of its own); WebSocket pings are for those.
///
/// # Defaults
///
/// | setting | default | why |
/// |---|---|---|
/// | time before the first probe | 60 s | a busy connection needs none |
/// | interval of further probes | 20 s | nine without an answer (Linux's default) end the connection after four minutes |
#[derive(Clone, Debug)]
pub struct TcpKeepAlive(socket2::TcpKeepalive);

impl TcpKeepAlive {
    /// First probe after `time` without traffic, then one every `interval` (whole seconds).
    #[must_use]
    pub fn new(time: std::time::Duration, interval: std::time::Duration) -> Self {
        let keep_alive = socket2::TcpKeepalive::new().with_time(time);
        #[cfg(not(any(target_os = "openbsd", target_os = "haiku")))]
        let keep_alive = keep_alive.with_interval(interval);
        #[cfg(any(target_os = "openbsd", target_os = "haiku"))]
        let _ = interval;
        Self(keep_alive)
    }
}

impl Default for TcpKeepAlive {
    fn default() -> Self {
        use std::time::Duration;
        Self::new(Duration::from_secs(60), Duration::from_secs(20))
    }
}

impl From<TcpStream> for Transport {
    fn from(tcp: TcpStream) -> Self {
        Self(TransportKind::Tcp(tcp))
    }
}

#[cfg(unix)]
impl From<UnixStream> for Transport {
    fn from(unix: UnixStream) -> Self {
        Self(TransportKind::Unix(unix))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            TransportKind::Tcp(tcp) => f.debug_tuple("Tcp").field(tcp).finish(),
            #[cfg(unix)]
            TransportKind::Unix(unix) => f.debug_tuple("Unix").field(unix).finish(),
            TransportKind::Boxed(_) => f.write_str("Boxed"),
        }
    }
}

macro_rules! on_stream {
    ($transport:expr, $stream:ident => $call:expr) => {
        match &mut $transport.get_mut().0 {
            TransportKind::Tcp($stream) => $call,
            #[cfg(unix)]
            TransportKind::Unix($stream) => $call,
            TransportKind::Boxed(boxed) => {
                let $stream = boxed.get_mut().unwrap_or_else(PoisonError::into_inner);
                $call
            }
        }
    };
}

impl AsyncRead for Transport {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            TransportKind::Tcp(tcp) => tcp.is_write_vectored(),
            #[cfg(unix)]
            TransportKind::Unix(unix) => unix.is_write_vectored(),
            TransportKind::Boxed(_) => false,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// Takes the value out of the slot if its type is the wanted one.
fn take_as<T: 'static, Wanted: 'static>(slot: &mut Option<T>) -> Option<Wanted> {
    (slot as &mut dyn Any)
        .downcast_mut::<Option<Wanted>>()
        .and_then(Option::take)
}

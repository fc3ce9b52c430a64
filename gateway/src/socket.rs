//! Listening sockets of TCP and of Unix, and the streams that they accept.

use std::fmt;
use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::unix::net as unix;
#[cfg(unix)]
use std::path::PathBuf;

use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

/// Listening socket, not yet watched by a runtime.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(std::net::TcpListener),
    #[cfg(unix)]
    Unix(unix::UnixListener),
}

/// Address of a listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LocalAddress {
    Tcp(SocketAddr),
    /// The path of the file; `None` for a socket that has none.
    #[cfg(unix)]
    Unix(Option<PathBuf>),
}

/// Listening socket that a runtime watches.
#[derive(Debug)]
pub(crate) enum Acceptor {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

/// Stream of a connection that was accepted.
#[derive(Debug)]
pub(crate) enum Stream {
    /// The stream, and the address of its other end.
    Tcp(TcpStream, SocketAddr),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Socket {
    /// Returns another handle of the same socket: both accept from one queue.
    ///
    /// # Errors
    ///
    /// The process has no file descriptors left.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            #[cfg(unix)]
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }

    /// Makes the socket one that a runtime can watch.
    ///
    /// # Errors
    ///
    /// The operating system refuses.
    #[cfg_attr(not(unix), allow(dead_code))]
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_nonblocking(true),
            #[cfg(unix)]
            Self::Unix(socket) => socket.set_nonblocking(true),
        }
    }

    /// Returns the address that the socket is bound to.
    ///
    /// # Errors
    ///
    /// The operating system does not name it.
    pub(crate) fn local_address(&self) -> io::Result<LocalAddress> {
        Ok(match self {
            Self::Tcp(socket) => LocalAddress::Tcp(socket.local_addr()?),
            #[cfg(unix)]
            Self::Unix(socket) => {
                let address = socket.local_addr()?;
                LocalAddress::Unix(address.as_pathname().map(Into::into))
            }
        })
    }

    /// Has this thread's runtime watch the socket.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch it.
    ///
    /// # Panics
    ///
    /// When called outside a tokio runtime.
    pub(crate) fn into_acceptor(self) -> io::Result<Acceptor> {
        match self {
            Self::Tcp(socket) => TcpListener::from_std(socket).map(Acceptor::Tcp),
            #[cfg(unix)]
            Self::Unix(socket) => UnixListener::from_std(socket).map(Acceptor::Unix),
        }
    }
}

impl Acceptor {
    /// Accepts one connection.
    ///
    /// # Errors
    ///
    /// Those of the connection, and those of the machine.
    ///
    /// # Cancellation
    ///
    /// No connection is lost.
    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(socket) => socket
                .accept()
                .await
                .map(|(tcp, peer)| Stream::Tcp(tcp, peer)),
            #[cfg(unix)]
            Self::Unix(socket) => socket.accept().await.map(|(unix, _)| Stream::Unix(unix)),
        }
    }
}

impl LocalAddress {
    /// Returns the address if it is one of TCP.
    pub(crate) const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(addr) => Some(*addr),
            #[cfg(unix)]
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            #[cfg(unix)]
            Self::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            #[cfg(unix)]
            Self::Unix(None) => f.write_str("unix:"),
        }
    }
}

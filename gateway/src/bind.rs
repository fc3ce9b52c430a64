//! Listening sockets: for each worker a socket of its own on the same address.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::net::TcpSocket;
use tokio::sync::Semaphore;

use crate::args::ListenArgs;
use crate::client_tls::ClientTls;
use crate::listener::Listener;

/// Limit of connections that wait in the kernel to be accepted.
const BACKLOG: u32 = 1024;

/// Bound addresses, and the listeners on them.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) http: SocketAddr,
    pub(crate) https: Option<SocketAddr>,
    pub(crate) client_tls: Option<Arc<ClientTls>>,
    /// Listeners of each worker; there is at least one worker.
    pub(crate) workers: Vec<Vec<Listener>>,
}

/// Binds the addresses of the command line.
///
/// # Errors
///
/// An address is not available, or the certificate cannot be used.
///
/// # Panics
///
/// When called outside a tokio runtime.
pub(crate) fn bind(args: &ListenArgs) -> Result<Bound, Box<dyn Error>> {
    let client_tls = client_tls(args)?;
    let count = args.threads.or_else(|| available_parallelism().ok());
    let count = count.unwrap_or(NonZeroUsize::MIN);
    let (http, sockets) = sockets(args.listen, count)?;
    let room = room(args);
    let mut bound = Bound {
        http,
        https: None,
        client_tls: client_tls.clone(),
        workers: sockets
            .map(|it| vec![Listener::new(it, None, room.clone())])
            .collect(),
    };
    if let (Some(tls), Some(addr)) = (client_tls, args.tls_listen) {
        let (https, sockets) = self::sockets(addr, count)?;
        bound.https = Some(https);
        let room = self::room(args);
        for (listeners, socket) in bound.workers.iter_mut().zip(sockets) {
            let tls = Some(Arc::clone(&tls));
            listeners.push(Listener::new(socket, tls, room.clone()));
        }
    }
    Ok(bound)
}

/// Binds the address of the admin listener, and returns it with its actual port.
///
/// # Errors
///
/// The address is not available.
pub(crate) fn bind_admin(addr: SocketAddr) -> Result<(SocketAddr, Listener), String> {
    let (addr, mut sockets) = sockets(addr, NonZeroUsize::MIN)?;
    let socket = sockets.next();
    let socket = socket.ok_or_else(|| format!("cannot listen on {addr}"))?;
    Ok((addr, Listener::new(socket, None, None)))
}

/// Returns the room for connections on one address, which its workers share.
fn room(args: &ListenArgs) -> Option<Arc<Semaphore>> {
    let limit = args.max_connections?;
    let limit = limit.get().min(Semaphore::MAX_PERMITS);
    Some(Arc::new(Semaphore::new(limit)))
}

fn client_tls(args: &ListenArgs) -> Result<Option<Arc<ClientTls>>, String> {
    // The parser of the command line requires both or neither.
    match (&args.tls_cert, &args.tls_key) {
        (Some(chain), Some(key)) => Ok(Some(Arc::new(ClientTls::load(chain, key)?))),
        _ => Ok(None),
    }
}

type Sockets = std::vec::IntoIter<std::net::TcpListener>;

/// Binds `count` sockets to one address, and returns the address with its actual port.
fn sockets(addr: SocketAddr, count: NonZeroUsize) -> Result<(SocketAddr, Sockets), String> {
    try_sockets(addr, count.get()).map_err(|error| format!("cannot listen on {addr}: {error}"))
}

/// On Linux the kernel distributes new connections among the sockets of an address.
#[cfg(target_os = "linux")]
fn try_sockets(mut addr: SocketAddr, count: usize) -> io::Result<(SocketAddr, Sockets)> {
    if count > 1 && addr.port() != 0 {
        // A shared address can be bound by all processes of this user. Binding it exclusively first
        // makes a second gateway fail, as it does with one worker.
        drop(socket(addr, Sharing::Exclusive)?);
    }
    let sharing = if count > 1 {
        Sharing::Shared
    } else {
        Sharing::Exclusive
    };
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let listener = socket(addr, sharing)?.listen(BACKLOG)?;
        addr = listener.local_addr()?;
        sockets.push(listener.into_std()?);
    }
    Ok((addr, sockets.into_iter()))
}

/// Elsewhere one of several sockets may get all connections, so all workers share one socket.
#[cfg(not(target_os = "linux"))]
fn try_sockets(addr: SocketAddr, count: usize) -> io::Result<(SocketAddr, Sockets)> {
    let listener = socket(addr, Sharing::Exclusive)?.listen(BACKLOG)?;
    let addr = listener.local_addr()?;
    let listener = listener.into_std()?;
    let clones: io::Result<Vec<_>> = (0..count).map(|_| listener.try_clone()).collect();
    Ok((addr, clones?.into_iter()))
}

/// Whether other sockets may be bound to the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    Exclusive,
    #[cfg(target_os = "linux")]
    Shared,
}

fn socket(addr: SocketAddr, sharing: Sharing) -> io::Result<TcpSocket> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Allows binding while connections of an earlier run are in TIME_WAIT. On Windows the option
    // means something else.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    match sharing {
        Sharing::Exclusive => {}
        #[cfg(target_os = "linux")]
        Sharing::Shared => socket.set_reuseport(true)?,
    }
    socket.bind(addr)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    #[tokio::test]
    async fn all_workers_listen_on_the_same_port() {
        let (addr, sockets) = try_sockets(any_port(), 4).unwrap();
        assert_ne!(addr.port(), 0);
        let addrs: Vec<_> = sockets.map(|it| it.local_addr().unwrap()).collect();
        assert_eq!(addrs, [addr; 4]);
    }

    #[tokio::test]
    async fn an_address_in_use_is_refused_however_many_workers_there_are() {
        for (first, second) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            let (addr, _held) = try_sockets(any_port(), first).unwrap();
            let error = try_sockets(addr, second).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{first} {second}");
        }
    }
}

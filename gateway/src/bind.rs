//! Where the gateway listens: for each thread sockets of its own.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::net::TcpSocket;

use crate::args::Args;
use crate::client_tls::Edge;
use crate::listener::Door;

/// Connections that wait in the kernel to be accepted, at most.
const BACKLOG: u32 = 1024;

/// What is open to clients.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) plain: SocketAddr,
    pub(crate) secured: Option<SocketAddr>,
    pub(crate) edge: Option<Arc<Edge>>,
    /// For each thread its own, never empty.
    pub(crate) threads: Vec<Vec<Door>>,
}

/// Opens what the command line says.
///
/// # Errors
///
/// An address cannot be had, or the certificate cannot be used.
///
/// # Panics
///
/// When called outside a tokio runtime.
pub(crate) fn open(args: &Args) -> Result<Opened, Box<dyn Error>> {
    let edge = edge(args)?;
    let count = args.threads.or_else(|| available_parallelism().ok());
    let count = count.unwrap_or(NonZeroUsize::MIN);
    let (plain, listeners) = bind(args.listen, count)?;
    let mut opened = Opened {
        plain,
        secured: None,
        edge: edge.clone(),
        threads: listeners
            .map(|listener| vec![Door::plain(listener)])
            .collect(),
    };
    if let (Some(edge), Some(addr)) = (edge, args.edge.tls_listen) {
        let (secured, listeners) = bind(addr, count)?;
        opened.secured = Some(secured);
        for (doors, listener) in opened.threads.iter_mut().zip(listeners) {
            doors.push(Door::secured(listener, Arc::clone(&edge)));
        }
    }
    Ok(opened)
}

fn edge(args: &Args) -> Result<Option<Arc<Edge>>, String> {
    // The command line has seen to it that all three are there, or none.
    match (&args.edge.tls_cert, &args.edge.tls_key) {
        (Some(chain), Some(key)) => Ok(Some(Arc::new(Edge::load(chain, key)?))),
        _ => Ok(None),
    }
}

type Listeners = std::vec::IntoIter<std::net::TcpListener>;

/// So many listeners of one address, and the address with its port.
fn bind(addr: SocketAddr, count: NonZeroUsize) -> Result<(SocketAddr, Listeners), String> {
    listeners(addr, count.get()).map_err(|error| format!("cannot listen on {addr}: {error}"))
}

/// The kernel shares new connections out among the sockets of an address.
#[cfg(target_os = "linux")]
fn listeners(mut addr: SocketAddr, count: usize) -> io::Result<(SocketAddr, Listeners)> {
    if count > 1 && addr.port() != 0 {
        // Sharing is with every program of this user. So that a second gateway is told that the
        // address is in use, as it would be without.
        drop(bound(addr, Sharing::Exclusive)?);
    }
    let sharing = if count > 1 {
        Sharing::Shared
    } else {
        Sharing::Exclusive
    };
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count {
        let listener = bound(addr, sharing)?.listen(BACKLOG)?;
        addr = listener.local_addr()?;
        listeners.push(listener.into_std()?);
    }
    Ok((addr, listeners.into_iter()))
}

/// Elsewhere the last socket of an address may get all connections, so all threads accept from one.
#[cfg(not(target_os = "linux"))]
fn listeners(addr: SocketAddr, count: usize) -> io::Result<(SocketAddr, Listeners)> {
    let listener = bound(addr, Sharing::Exclusive)?.listen(BACKLOG)?;
    let addr = listener.local_addr()?;
    let listener = listener.into_std()?;
    let clones: io::Result<Vec<_>> = (0..count).map(|_| listener.try_clone()).collect();
    Ok((addr, clones?.into_iter()))
}

/// Whether other sockets may have the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    Exclusive,
    #[cfg(target_os = "linux")]
    Shared,
}

fn bound(addr: SocketAddr, sharing: Sharing) -> io::Result<TcpSocket> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // What is left of connections of the run before need not be waited for. On Windows the option
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

    fn any() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    #[tokio::test]
    async fn all_threads_listen_on_the_same_port() {
        let (addr, listeners) = listeners(any(), 4).unwrap();
        assert_ne!(addr.port(), 0);
        let addrs: Vec<_> = listeners.map(|it| it.local_addr().unwrap()).collect();
        assert_eq!(addrs, [addr; 4]);
    }

    #[tokio::test]
    async fn an_address_in_use_is_refused_however_many_threads_there_are() {
        for (first, second) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            let (addr, _held) = listeners(any(), first).unwrap();
            let error = listeners(addr, second).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{first} {second}");
        }
    }
}

//! Listening sockets: for each worker a socket of its own on the same address, or a handle of the one
//! that was inherited.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use wsplice::accept::AcceptProxyProtocol;
use wsplice::headers::Networks;

use crate::args::ListenArgs;
use crate::client_tls::ClientTls;
use crate::inherited::{Inherited, Service};
use crate::listener::Listener;
use crate::socket::{LocalAddress, Socket};

/// Limit of connections that wait in the kernel to be accepted, which has a limit of its own. Beyond it a
/// client may take its connection for open, and one that speaks HTTP/2 may be reset.
const BACKLOG: u32 = 4096;

const CERTIFICATE_WITHOUT_ADDRESS: &str =
    "--tls-cert needs an address: --tls-listen, or an inherited socket of the name `tls`";

const ADDRESS_WITHOUT_CERTIFICATE: &str =
    "the inherited socket of the name `tls` needs --tls-cert and --tls-key";

/// Bound addresses, and the listeners on them.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Addresses without TLS, then those with it.
    pub(crate) addresses: Vec<(Service, LocalAddress)>,
    pub(crate) client_tls: Option<Arc<ClientTls>>,
    /// Listeners of each worker; there is at least one worker.
    pub(crate) workers: Vec<Vec<Listener>>,
}

impl Bound {
    /// Returns the first TCP address of a service.
    #[cfg(test)]
    pub(crate) fn tcp(&self, service: Service) -> Option<SocketAddr> {
        let mut addresses = self.addresses.iter().filter(|(of, _)| *of == service);
        addresses.find_map(|(_, address)| address.tcp())
    }

    /// Adds a listener to each worker, all of which share the room for connections on this address.
    fn listen(&mut self, on: Address, args: &ListenArgs) {
        let room = room(args);
        let tls = match on.service {
            Service::Plain => None,
            Service::Tls => self.client_tls.clone(),
        };
        self.addresses.push((on.service, on.address));
        for (listeners, socket) in self.workers.iter_mut().zip(on.sockets) {
            let listener = Listener::new(socket, tls.clone(), room.clone());
            listeners.push(listener.behind(proxy_protocol(args)));
        }
    }
}

/// Address with a socket for each worker.
struct Address {
    service: Service,
    address: LocalAddress,
    sockets: Vec<Socket>,
}

/// Binds the addresses of the command line, unless sockets were inherited: those stand in for them.
/// `--tls-listen` is bound even so if none of the inherited sockets is for TLS.
///
/// # Errors
///
/// An address is not available, the certificate cannot be used, or it has no address, or an address
/// has no certificate.
///
/// # Panics
///
/// When called outside a tokio runtime.
pub(crate) fn bind(args: &ListenArgs, inherited: Vec<Inherited>) -> Result<Bound, Box<dyn Error>> {
    let client_tls = client_tls(args)?;
    let count = args.threads.or_else(|| available_parallelism().ok());
    let count = count.unwrap_or(NonZeroUsize::MIN);
    let mut addresses = Vec::new();
    if inherited.is_empty() {
        addresses.push(own_address(Service::Plain, args.listen, count)?);
    }
    for inherited in inherited {
        addresses.push(inherited_address(inherited, count)?);
    }
    let has_tls = |addresses: &[Address]| addresses.iter().any(|it| it.service == Service::Tls);
    if let (Some(addr), false) = (args.tls_listen, has_tls(&addresses)) {
        addresses.push(own_address(Service::Tls, addr, count)?);
    }
    match (&client_tls, has_tls(&addresses)) {
        (Some(_), false) => return Err(CERTIFICATE_WITHOUT_ADDRESS.into()),
        (None, true) => return Err(ADDRESS_WITHOUT_CERTIFICATE.into()),
        _ => {}
    }
    addresses.sort_by_key(|it| it.service == Service::Tls);
    let mut bound = Bound {
        addresses: Vec::new(),
        client_tls,
        workers: (0..count.get()).map(|_| Vec::new()).collect(),
    };
    for address in addresses {
        bound.listen(address, args);
    }
    Ok(bound)
}

fn own_address(service: Service, addr: SocketAddr, count: NonZeroUsize) -> Result<Address, String> {
    let (addr, sockets) = sockets(addr, count)?;
    Ok(Address {
        service,
        address: LocalAddress::Tcp(addr),
        sockets: sockets.map(Socket::Tcp).collect(),
    })
}

/// Workers share an inherited socket, and its queue with other processes that inherited it.
fn inherited_address(inherited: Inherited, count: NonZeroUsize) -> io::Result<Address> {
    let Inherited { service, socket } = inherited;
    let clones: io::Result<Vec<_>> = (0..count.get()).map(|_| socket.try_clone()).collect();
    Ok(Address {
        service,
        address: socket.local_address()?,
        sockets: clones?,
    })
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
    Ok((addr, Listener::new(Socket::Tcp(socket), None, None)))
}

/// Returns the reader of the PROXY protocol, if load balancers send it.
fn proxy_protocol(args: &ListenArgs) -> Option<AcceptProxyProtocol> {
    let networks = args.accept_proxy_protocol.iter().cloned();
    networks
        .reduce(Networks::and)
        .map(AcceptProxyProtocol::from_networks)
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

    use clap::Parser;

    use crate::args::Args;

    fn args(args: &[&str]) -> ListenArgs {
        Args::parse_from(["gateway"].iter().chain(args)).listen
    }

    fn inherited(service: Service) -> (LocalAddress, Inherited) {
        let socket = Socket::Tcp(std::net::TcpListener::bind(any_port()).unwrap());
        socket.set_nonblocking().unwrap();
        let address = socket.local_address().unwrap();
        (address, Inherited { service, socket })
    }

    #[tokio::test]
    async fn inherited_sockets_take_the_place_of_the_own_ones() {
        let (first, plain) = inherited(Service::Plain);
        let (second, other) = inherited(Service::Plain);
        let bound = bind(&args(&["--threads=3"]), vec![plain, other]).unwrap();
        let plain = |address| (Service::Plain, address);
        assert_eq!(bound.addresses, [plain(first), plain(second)]);
        assert_eq!(
            bound.workers.iter().map(Vec::len).collect::<Vec<_>>(),
            [2; 3]
        );
    }

    #[tokio::test]
    async fn a_certificate_and_an_address_with_tls_need_each_other() {
        let (_, tls) = inherited(Service::Tls);
        let error = bind(&args(&[]), vec![tls]).unwrap_err().to_string();
        assert!(error.contains("--tls-cert"), "{error}");

        let files = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = std::env::temp_dir().join(format!("wsplice-bind-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
        std::fs::write(&chain, files.cert.pem()).unwrap();
        std::fs::write(&key, files.signing_key.serialize_pem()).unwrap();
        let options = [
            format!("--tls-cert={}", chain.display()),
            format!("--tls-key={}", key.display()),
        ];
        let options = args(&options.each_ref().map(String::as_str));
        let (_, plain) = inherited(Service::Plain);
        let error = bind(&options, vec![plain]).unwrap_err().to_string();
        assert!(error.contains("--tls-listen"), "{error}");

        let (address, tls) = inherited(Service::Tls);
        let bound = bind(&options, vec![tls]).unwrap();
        assert_eq!(bound.addresses, [(Service::Tls, address)]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

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

//! The connector for TCP and Unix sockets.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};

use crate::net::transport::Transport;

use super::{
    address::Address,
    local_addresses::Sources,
    race::race,
    resolve::{Resolve, SystemResolver},
    traits::{Connect, ConnectFuture},
};

/// Budget of a connect whose caller names none: the layer's default.
const DEFAULT_BUDGET: Duration = Duration::from_secs(3);

/// Connects by TCP and, on Unix, by Unix sockets.
///
/// A name is resolved again for each connection, by the system's resolver unless there is
/// [another](Self::resolver), in two thirds of the connect timeout at most. Its addresses are tried
/// one after another, the next one as soon as the last has failed or been silent for 250 ms (RFC
/// 8305 §5). `TCP_NODELAY` is on; TCP keep-alive is set by
/// [the layer](crate::ProxyLayer::upstream_tcp_keep_alive).
///
/// # Defaults
///
/// | method | default | unit | why |
/// |---|---|---|---|
/// | [`resolver`](Self::resolver) | the system's | | `getaddrinfo`, 16 lookups at once |
/// | [`source_addresses`](Self::source_addresses) | the system's choice | | |
///
/// # Examples
///
/// ```
/// use wsplice::{Pool, ProxyLayer, connect::Connector};
///
/// let pool = Pool::new(["ws://10.0.0.1:8080"])?;
/// // Room for twice as many tunnels.
/// let connector = Connector::new().source_addresses([[10, 0, 0, 8], [10, 0, 0, 9]]);
/// let proxy = ProxyLayer::new(pool).connector(connector);
/// # let _ = proxy;
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone)]
pub struct Connector {
    resolver: Arc<dyn Resolve>,
    sources: Arc<Sources>,
}

impl Connector {
    /// The default connector.
    #[must_use]
    pub fn new() -> Self {
        Self {
            resolver: Arc::new(SystemResolver::new()),
            sources: Arc::default(),
        }
    }

    /// Looks up names by this resolver, instead of the system's.
    #[must_use]
    pub fn resolver(mut self, resolver: impl Resolve + 'static) -> Self {
        self.resolver = Arc::new(resolver);
        self
    }

    /// Connects from these local addresses in turn, instead of one that the system chooses.
    ///
    /// From one local address about 28,000 connections lead to one port of one upstream; each
    /// further address adds as many. An address that has no port left, or that this machine does
    /// not have, gives way to the next. For a family (IPv4 or IPv6) that has none of them, the
    /// system chooses. Unix sockets are not affected.
    #[must_use]
    pub fn source_addresses<I>(mut self, addresses: I) -> Self
    where
        I: IntoIterator<Item: Into<IpAddr>>,
    {
        self.sources = Arc::new(Sources::new(addresses.into_iter().map(Into::into)));
        self
    }

    async fn tcp(&self, host: &str, port: u16, budget: Duration) -> io::Result<Transport> {
        let stream = match host.parse::<IpAddr>() {
            Ok(ip) => self.connect(SocketAddr::new(ip, port)).await?,
            Err(_) => {
                let addresses = self.resolve(host, port, budget).await?;
                race(addresses, |address| self.connect_to(host, address)).await?
            }
        };
        let transport = Transport::from(stream);
        transport.no_delay();
        Ok(transport)
    }

    async fn connect(&self, mut address: SocketAddr) -> io::Result<TcpStream> {
        // An IPv4-mapped address is IPv4: so are its sources, and it needs no IPv6 here.
        if let Some(ip) = mapped(address) {
            address.set_ip(ip);
        }
        self.sources.connect(address).await
    }

    /// Connects to an address that the resolver gave, and reports a failure of the address to it.
    async fn connect_to(&self, host: &str, address: SocketAddr) -> io::Result<TcpStream> {
        let connected = self.connect(address).await;
        if let Err(error) = &connected {
            if is_of_address(error) {
                self.resolver.connect_failed(host, address);
            }
        }
        connected
    }

    /// Resolves a name. A failure has a kind of its own, unlike those of connecting, and so has
    /// silence: the resolver's time is over before the budget is.
    async fn resolve(
        &self,
        host: &str,
        port: u16,
        budget: Duration,
    ) -> io::Result<Vec<SocketAddr>> {
        let limit = budget / 3 * 2;
        match timeout(limit, self.resolver.resolve_within(host, port, limit)).await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(error),
            Ok(Err(error)) => Err(io::Error::new(io::ErrorKind::NotFound, error)),
            Err(_) => {
                let silent = format!("the resolver did not respond within {limit:?}");
                Err(io::Error::new(io::ErrorKind::NotFound, silent))
            }
        }
    }
}

/// Whether the failure of a connect is a verdict on the address, and not on this machine.
fn is_of_address(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::TimedOut
    )
}

fn mapped(address: SocketAddr) -> Option<IpAddr> {
    Some(address.ip().to_canonical()).filter(|ip| *ip != address.ip())
}

impl Default for Connector {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

impl Connect for Connector {
    fn connect<'a>(&'a self, address: &'a Address) -> ConnectFuture<'a> {
        self.connect_within(address, DEFAULT_BUDGET)
    }

    fn connect_within<'a>(&'a self, address: &'a Address, budget: Duration) -> ConnectFuture<'a> {
        Box::pin(async move {
            match address {
                Address::Tcp { host, port } | Address::Tls { host, port, .. } => {
                    self.tcp(host, *port, budget).await
                }
                #[cfg(unix)]
                Address::Unix(path) => Ok(tokio::net::UnixStream::connect(path).await?.into()),
                #[cfg(not(unix))]
                Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
            }
        })
    }
}

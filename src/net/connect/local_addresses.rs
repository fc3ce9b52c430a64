//! Local addresses for connections to upstreams.

use std::{
    error, fmt, io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::net::{TcpSocket, TcpStream};

/// Local addresses, taken in turn.
///
/// A connection is identified by both addresses and both ports, so from one local address
/// about 28,000 lead to one port of an upstream (Linux's range of local ports is 32768 to 60999).
/// Each further local address adds as many.
#[derive(Debug, Default)]
pub(super) struct Sources {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    next: AtomicUsize,
    /// Read when first needed.
    ports: OnceLock<RangeInclusive<u16>>,
}

/// The number of ports to try of a source that has no free one. With 9 of 10 taken towards this
/// upstream, one in thirty connections finds none, and goes to the next source.
const SHARED_PORT_TRIES: usize = 32;

impl Sources {
    pub(super) fn new(sources: impl IntoIterator<Item = IpAddr>) -> Self {
        let sources = sources.into_iter().map(|source| source.to_canonical());
        let (v4, v6) = sources.partition(IpAddr::is_ipv4);
        Self {
            v4,
            v6,
            ..Self::default()
        }
    }

    /// Connects from the next source of the address's family that has a port left, or from an
    /// address that the system chooses if the family has no sources.
    ///
    /// # Errors
    ///
    /// The error of the connection, or kind `AddrNotAvailable` when no source can be used.
    pub(super) async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let sources = match to {
            SocketAddr::V4(_) => &self.v4,
            SocketAddr::V6(_) => &self.v6,
        };
        let mut unusable = Unusable::new(to);
        if sources.is_empty() {
            let connected = TcpStream::connect(to).await;
            return connected.map_err(|error| match error.kind() {
                io::ErrorKind::AddrNotAvailable => unusable.with_source(error),
                _ => error,
            });
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed) % sources.len();
        let (after, before) = sources.split_at(first);
        for source in before.iter().chain(after) {
            match self.connect_from(*source, to).await {
                Ok(stream) => return Ok(stream),
                Err(LocalAddressFailure::Port) => unusable.exhausted.push(*source),
                Err(LocalAddressFailure::Source) => unusable.foreign.push(*source),
                Err(LocalAddressFailure::Connect(error)) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrNotAvailable, unusable))
    }

    async fn connect_from(
        &self,
        source: IpAddr,
        to: SocketAddr,
    ) -> Result<TcpStream, LocalAddressFailure> {
        match attempt(source, 0, to).await {
            Err(LocalAddressFailure::Port) if cfg!(target_os = "linux") => {}
            done => return done,
        }
        // Each port is taken by a connection, but perhaps by one to elsewhere: Linux lets several
        // sockets share a port, if each sets `SO_REUSEADDR` and none listens, as long as the
        // connections differ. It does so only for a port that is asked for by number.
        let ports = self.ports.get_or_init(local_ports);
        for _ in 0..SHARED_PORT_TRIES {
            match attempt(source, fastrand::u16(ports.clone()), to).await {
                Err(LocalAddressFailure::Port) => {}
                done => return done,
            }
        }
        Err(LocalAddressFailure::Port)
    }
}

/// The failure of a connection from one source.
#[derive(Debug)]
enum LocalAddressFailure {
    /// The port, or every port, is taken.
    Port,
    /// The source is not an address of this machine.
    Source,
    /// Any other failure.
    Connect(io::Error),
}

async fn attempt(
    source: IpAddr,
    port: u16,
    to: SocketAddr,
) -> Result<TcpStream, LocalAddressFailure> {
    let socket = bound(SocketAddr::new(source, port))?;
    socket
        .connect(to)
        .await
        .map_err(|error| match error.kind() {
            // Another connection leads there from this port already.
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => LocalAddressFailure::Port,
            _ => LocalAddressFailure::Connect(error),
        })
}

fn bound(source: SocketAddr) -> Result<TcpSocket, LocalAddressFailure> {
    let socket = match source {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(LocalAddressFailure::Connect)?;
    #[cfg(target_os = "linux")]
    socket
        .set_reuseaddr(true)
        .map_err(LocalAddressFailure::Connect)?;
    socket.bind(source).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => LocalAddressFailure::Port,
        io::ErrorKind::AddrNotAvailable => LocalAddressFailure::Source,
        _ => LocalAddressFailure::Connect(error),
    })?;
    Ok(socket)
}

/// The ports that the system gives to connections (ip(7), `ip_local_port_range`); elsewhere, and
/// where it cannot be read, those of RFC 6335 §6.
fn local_ports() -> RangeInclusive<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    text.ok()
        .and_then(|text| read_ports(&text))
        .unwrap_or(49_152..=65_535)
}

fn read_ports(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse);
    let (low, high) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (low <= high).then_some(low..=high)
}

/// Failure of all sources.
#[derive(Debug)]
struct Unusable {
    to: SocketAddr,
    exhausted: Vec<IpAddr>,
    foreign: Vec<IpAddr>,
    cause: Option<io::Error>,
}

impl Unusable {
    const fn new(to: SocketAddr) -> Self {
        Self {
            to,
            exhausted: Vec::new(),
            foreign: Vec::new(),
            cause: None,
        }
    }

    fn with_source(mut self, error: io::Error) -> io::Error {
        self.cause = Some(error);
        io::Error::new(io::ErrorKind::AddrNotAvailable, self)
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.cause.is_some() {
            return write!(f, "no local address or port towards {}", self.to);
        }
        if !self.exhausted.is_empty() {
            write!(f, "no free local port towards {} from ", self.to)?;
            list(f, &self.exhausted)?;
        }
        if !self.exhausted.is_empty() && !self.foreign.is_empty() {
            f.write_str("; ")?;
        }
        if !self.foreign.is_empty() {
            f.write_str("not an address of this machine: ")?;
            list(f, &self.foreign)?;
        }
        Ok(())
    }
}

fn list(f: &mut fmt::Formatter<'_>, addresses: &[IpAddr]) -> fmt::Result {
    for (index, address) in addresses.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{address}")?;
    }
    Ok(())
}

impl error::Error for Unusable {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.cause.as_ref().map(|error| error as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::net::TcpListener;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        (listener, addr)
    }

    async fn source_of(sources: &Sources, to: SocketAddr) -> IpAddr {
        let stream = sources.connect(to).await.unwrap();
        stream.local_addr().unwrap().ip()
    }

    #[test]
    fn the_systems_ports_are_read() {
        assert_eq!(read_ports("32768\t60999\n"), Some(32768..=60999));
        for text in ["", "1", "a b", "5 4", "1 65536"] {
            assert_eq!(read_ports(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn without_sources_the_system_chooses() {
        let (_listener, addr) = listener().await;
        assert_eq!(
            source_of(&Sources::default(), addr).await,
            addr.ip(),
            "loopback talks to itself"
        );
    }

    #[cfg(target_os = "linux")]
    mod on_linux {
        use super::*;

        #[tokio::test]
        async fn sources_take_turns() {
            let (_listener, addr) = listener().await;
            let all = ips(&["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
            let sources = Sources::new(all.clone());
            for round in 0..2 {
                for source in &all {
                    assert_eq!(source_of(&sources, addr).await, *source, "round {round}");
                }
            }
        }

        #[tokio::test]
        async fn a_source_that_is_not_here_gives_way_to_the_next() {
            let (_listener, addr) = listener().await;
            let sources = Sources::new(ips(&["203.0.113.1", "127.0.0.3"]));
            for _ in 0..4 {
                assert_eq!(source_of(&sources, addr).await, ips(&["127.0.0.3"])[0]);
            }
        }

        #[tokio::test]
        async fn sources_of_the_other_family_don_t_count() {
            let (_listener, addr) = listener().await;
            let sources = Sources::new(ips(&["2001:db8::1"]));
            assert_eq!(source_of(&sources, addr).await, addr.ip());
        }

        #[tokio::test]
        async fn when_no_source_is_here_the_error_names_them() {
            let (_listener, addr) = listener().await;
            let sources = Sources::new(ips(&["203.0.113.1", "::ffff:203.0.113.2"]));
            let error = sources.connect(addr).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
            assert_eq!(
                error.to_string(),
                "not an address of this machine: 203.0.113.1, 203.0.113.2"
            );
        }

        #[tokio::test]
        async fn a_refusal_is_the_upstreams_and_no_other_source_is_tried() {
            // At an address of its own, or another test might take the port.
            let listener = TcpListener::bind("127.0.0.78:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            drop(listener);
            let sources = Sources::new(ips(&["127.0.0.2", "127.0.0.3"]));
            let error = sources.connect(addr).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        }

        /// A port that is free on this source.
        fn free_port(source: &str) -> u16 {
            let any = SocketAddr::new(source.parse().unwrap(), 0);
            bound(any).unwrap().local_addr().unwrap().port()
        }

        #[tokio::test]
        async fn a_port_leads_to_several_upstreams_but_to_each_once() {
            let source: IpAddr = [127, 0, 0, 5].into();
            let port = free_port("127.0.0.5");
            let ((_a, to_a), (_b, to_b)) = (listener().await, listener().await);
            let first = attempt(source, port, to_a).await.unwrap();
            let second = attempt(source, port, to_b).await.unwrap();
            assert_eq!(first.local_addr().unwrap(), second.local_addr().unwrap());
            let again = attempt(source, port, to_a).await;
            assert!(matches!(again, Err(LocalAddressFailure::Port)), "{again:?}");
        }

        #[tokio::test]
        async fn a_port_where_someone_listens_is_taken() {
            let source: IpAddr = [127, 0, 0, 6].into();
            let listening = TcpListener::bind("127.0.0.6:0").await.unwrap();
            let port = listening.local_addr().unwrap().port();
            let (_listener, addr) = listener().await;
            let taken = attempt(source, port, addr).await;
            assert!(matches!(taken, Err(LocalAddressFailure::Port)), "{taken:?}");
        }

        #[test]
        fn exhausted_addresses_are_named() {
            let mut unusable = Unusable::new("10.0.0.1:80".parse().unwrap());
            unusable.exhausted = ips(&["127.0.0.2", "127.0.0.3"]);
            assert_eq!(
                unusable.to_string(),
                "no free local port towards 10.0.0.1:80 from 127.0.0.2, 127.0.0.3"
            );
            unusable.foreign = ips(&["::1"]);
            assert_eq!(
                unusable.to_string(),
                "no free local port towards 10.0.0.1:80 from 127.0.0.2, 127.0.0.3; \
                 not an address of this machine: ::1"
            );
        }
    }
}

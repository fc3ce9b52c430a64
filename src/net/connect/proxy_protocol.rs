//! The PROXY protocol: a header with the client's address before all other bytes. Pure.
//!
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>; sections are of that text.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::net::proxy_header::{LOCAL, PROXY, SIGNATURE, TCP4, TCP6, UNSPEC};

/// Version of the PROXY protocol, by which an upstream learns the client's address at the start of
/// each connection.
///
/// The source is the client's address as [`ForwardedHeaders`](crate::headers::ForwardedHeaders)
/// resolves it: that of the connection's other end, port included, or the one that a trusted proxy
/// there reports, with port 0, since such proxies report no port. The destination is the
/// [local end](crate::headers::ClientInfo::with_local) of the client's connection, or `0.0.0.0`
/// (`::`) and port 0 where the host does not know it. A client without an address, as on a Unix
/// socket, is `UNKNOWN` in version 1 and of no family in version 2. Probes are connections of the
/// proxy itself: `UNKNOWN`, or `LOCAL` in version 2.
///
/// With TLS the header goes first, in the clear, and TLS begins behind it.
///
/// # Examples
///
/// ```
/// use wsplice::{Pool, Upstream, connect::ProxyProtocol};
///
/// let upstream = Upstream::new("ws://10.0.0.1:8080")?.send_proxy_protocol(ProxyProtocol::V2);
/// let pool = Pool::from_upstreams([upstream]);
/// # let _ = pool;
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyProtocol {
    /// A line of text; HAProxy's `send-proxy`.
    V1,
    /// The binary header; HAProxy's `send-proxy-v2`.
    V2,
}

/// The header that precedes all other bytes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProxyHeader(Box<[u8]>);

impl ProxyProtocol {
    /// Header of a connection for a client, as far as the client is known.
    pub(crate) fn relayed(
        self,
        source: Option<SocketAddr>,
        destination: Option<SocketAddr>,
    ) -> ProxyHeader {
        let ends = source.map(|source| Ends::new(source, destination));
        ProxyHeader(match (self, ends) {
            (Self::V1, Some(ends)) => ends.line().into_bytes().into(),
            (Self::V1, None) => UNKNOWN.into(),
            (Self::V2, Some(ends)) => ends.binary().into(),
            // Not LOCAL: the connection is a client's, though its address is unknown (§2.2).
            (Self::V2, None) => binary(PROXY, UNSPEC, &[]).into(),
        })
    }

    /// Header of a connection of the proxy's own.
    pub(crate) fn local(self) -> ProxyHeader {
        ProxyHeader(match self {
            Self::V1 => UNKNOWN.into(),
            Self::V2 => binary(LOCAL, UNSPEC, &[]).into(),
        })
    }
}

impl ProxyHeader {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// §2.1: bytes after the word are ignored, so there are none.
const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";

/// Both ends of the client's connection, in one family.
#[derive(Clone, Copy, Debug)]
enum Ends {
    V4(SocketAddrV4, SocketAddrV4),
    V6(SocketAddrV6, SocketAddrV6),
}

impl Ends {
    fn new(source: SocketAddr, destination: Option<SocketAddr>) -> Self {
        let source = canonical(source);
        let destination = destination.map_or_else(|| nowhere(source.ip()), canonical);
        match (source, destination) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => Self::V4(source, destination),
            // There is one family for both, and only IPv6 has room for either.
            _ => Self::V6(as_v6(source), as_v6(destination)),
        }
    }

    /// §2.1. At most 104 bytes of the 107 that receivers reserve.
    fn line(self) -> String {
        let (family, source, destination, ports) = match self {
            Self::V4(source, destination) => (
                "TCP4",
                source.ip().to_string(),
                destination.ip().to_string(),
                (source.port(), destination.port()),
            ),
            Self::V6(source, destination) => (
                "TCP6",
                hexadecimal(*source.ip()),
                hexadecimal(*destination.ip()),
                (source.port(), destination.port()),
            ),
        };
        let (source_port, destination_port) = ports;
        format!("PROXY {family} {source} {destination} {source_port} {destination_port}\r\n")
    }

    /// §2.2.
    fn binary(self) -> Vec<u8> {
        match self {
            Self::V4(source, destination) => binary(
                PROXY,
                TCP4,
                &[
                    &source.ip().octets(),
                    &destination.ip().octets(),
                    &source.port().to_be_bytes(),
                    &destination.port().to_be_bytes(),
                ],
            ),
            Self::V6(source, destination) => binary(
                PROXY,
                TCP6,
                &[
                    &source.ip().octets(),
                    &destination.ip().octets(),
                    &source.port().to_be_bytes(),
                    &destination.port().to_be_bytes(),
                ],
            ),
        }
    }
}

/// §2.2: signature, version and command, family, the length of the rest, the rest.
fn binary(command: u8, family: u8, addresses: &[&[u8]]) -> Vec<u8> {
    let addresses = addresses.concat();
    // 36 at most.
    let length = u16::try_from(addresses.len()).unwrap_or_default();
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family]);
    header.extend(length.to_be_bytes());
    header.extend(addresses);
    header
}

/// Converts an IPv4-mapped address, which a dual-stack listener reports, to IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn nowhere(like: IpAddr) -> SocketAddr {
    match like {
        IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

fn as_v6(address: SocketAddr) -> SocketAddrV6 {
    match address {
        SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0),
        SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, 0),
    }
}

/// §2.1 allows hexadecimal groups alone, where `Display` ends a mapped address in dots.
fn hexadecimal(ip: Ipv6Addr) -> String {
    match (ip.to_ipv4_mapped(), ip.segments()) {
        (Some(_), [.., high, low]) => format!("::ffff:{high:x}:{low:x}"),
        (None, _) => ip.to_string(),
    }
}

#[cfg(test)]
mod tests;

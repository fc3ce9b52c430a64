//! Addresses of 127.0.0.0/8, enough of them that no pair runs out of ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Connections from one address to another. There are some 28,000 ports by default, and the kernel
/// searches ever longer for a free one when most are taken.
const A_PAIR: usize = 9_500;

/// Connections from one source address, which is bound before its connection is made.
const A_SOURCE: usize = 6_000;

/// The address at which a thread of the proxy accepts.
pub fn proxy(thread: usize, port: u16) -> SocketAddr {
    SocketAddr::new(numbered(3, thread), port)
}

/// Upstreams that so many tunnels need.
pub fn upstreams(tunnels: usize) -> usize {
    tunnels.div_ceil(A_PAIR)
}

/// The address of an upstream.
pub fn upstream(number: usize, port: u16) -> SocketAddr {
    SocketAddr::new(numbered(2, number), port)
}

/// The address of the client's end of the connection with this number, of this thread.
pub fn source(thread: usize, connection: usize) -> SocketAddr {
    let block = thread * 16 + connection / A_SOURCE;
    SocketAddr::new(numbered(16, block), 0)
}

/// An address of 127.`net`.0.0 and the networks behind it.
fn numbered(net: u8, number: usize) -> IpAddr {
    let byte = |value: usize| u8::try_from(value % 250 + 1).unwrap_or(1);
    let further = u8::try_from(number / 62_500).unwrap_or(0);
    IpAddr::V4(Ipv4Addr::new(
        127,
        net + further,
        byte(number / 250),
        byte(number),
    ))
}

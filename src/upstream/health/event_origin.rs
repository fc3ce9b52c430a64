//! The client and the path that an event came from. Pure.

use std::net::IpAddr;

use crate::hash::hash;

/// Client and path that an event came from, as hashes, short because every tunnel keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventOrigin {
    pub(super) client: u32,
    pub(super) path: u32,
}

impl EventOrigin {
    /// Creates the origin of a request. Clients without an address count as one, and so do those of
    /// one /64 network of IPv6, which is what a single subscriber gets.
    pub(crate) fn new(client: Option<IpAddr>, path: &str) -> Self {
        let client = match client.map(|ip| ip.to_canonical()) {
            None => 0,
            Some(IpAddr::V4(ip)) => short_hash(ip.octets()),
            Some(IpAddr::V6(ip)) => short_hash(ip.octets().into_iter().take(8)),
        };
        Self {
            client,
            path: short_hash(path.bytes()),
        }
    }
}

/// Half of the bits of a hash. Two origins that collide count as one, which only weakens their news.
#[allow(clippy::cast_possible_truncation)]
fn short_hash(bytes: impl IntoIterator<Item = u8>) -> u32 {
    hash(bytes) as u32
}

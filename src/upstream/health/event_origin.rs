//! The client and the path that an event came from. Pure.

use std::net::IpAddr;

use crate::hash::hash;

/// Client and path that an event came from, as hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventOrigin {
    pub(super) client: u64,
    pub(super) path: u64,
}

impl EventOrigin {
    /// Creates the origin of a request. Clients without an address count as one, and so do those of
    /// one /64 network of IPv6, which is what a single subscriber gets.
    pub(crate) fn new(client: Option<IpAddr>, path: &str) -> Self {
        let client = match client.map(|ip| ip.to_canonical()) {
            None => 0,
            Some(IpAddr::V4(ip)) => hash(ip.octets()),
            Some(IpAddr::V6(ip)) => hash(ip.octets().into_iter().take(8)),
        };
        Self {
            client,
            path: hash(path.bytes()),
        }
    }
}

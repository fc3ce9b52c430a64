//! Helpers shared by the tests of sources.

use crate::{net::connect::Address, upstream::Upstream};

/// Returns upstreams at port 80 of these hosts.
pub(crate) fn upstreams(hosts: &[&str]) -> Vec<Upstream> {
    hosts
        .iter()
        .map(|host| Upstream::from_address(Address::tcp(*host, 80)))
        .collect()
}

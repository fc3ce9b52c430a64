//! What tests of sources share.

use crate::{net::connect::Address, upstream::Upstream};

/// Upstreams at port 80 of these hosts.
pub(crate) fn upstreams(hosts: &[&str]) -> Vec<Upstream> {
    hosts
        .iter()
        .map(|host| Upstream::from_address(Address::tcp(*host, 80)))
        .collect()
}

//! Trait between DNS discovery and its resolver.

use std::{fmt, future::Future, net::IpAddr, pin::Pin};

use crate::upstream::discovery::error::DiscoverError;

use super::{
    name::DnsName,
    records::{Answer, Service},
};

/// Future of a lookup.
pub(super) type LookingUp<'a, T> =
    Pin<Box<dyn Future<Output = Result<Answer<T>, DiscoverError>> + Send + 'a>>;

/// DNS lookup.
///
/// # Errors
///
/// [`DiscoverError::NoRecords`] only if DNS reports that there are none; a timeout or a malformed
/// message is another failure. A result has at least one record.
pub(super) trait Lookup: fmt::Debug + Send + Sync {
    /// Looks up the A or AAAA records of a name.
    fn addresses<'a>(&'a self, name: &'a DnsName, version: IpVersion) -> LookingUp<'a, IpAddr>;

    /// Looks up the SRV records of a name.
    fn services<'a>(&'a self, name: &'a DnsName) -> LookingUp<'a, Service>;
}

/// IP version of an address record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IpVersion {
    V4,
    V6,
}

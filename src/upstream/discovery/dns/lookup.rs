//! Trait between DNS discovery and its client.

use std::{fmt, future::Future, net::IpAddr, pin::Pin};

use crate::upstream::discovery::error::DiscoverError;

use super::{
    name::DnsName,
    records::{RecordSet, Service},
};

/// Future of a lookup.
pub(super) type LookupFuture<'a, T> =
    Pin<Box<dyn Future<Output = Result<RecordSet<T>, DiscoverError>> + Send + 'a>>;

/// DNS lookup at a server, without a cache.
///
/// A set without records means that DNS reports that there are none: the name does not exist, or
/// has no records of this type.
///
/// # Errors
///
/// The servers did not respond, or with an error (RFC 8767 §5: anything but NOERROR and NXDOMAIN).
pub(super) trait Lookup: fmt::Debug + Send + Sync {
    /// Looks up the A or AAAA records of a name.
    fn addresses<'a>(&'a self, name: &'a DnsName, version: IpVersion) -> LookupFuture<'a, IpAddr>;

    /// Looks up the SRV records of a name.
    fn services<'a>(&'a self, name: &'a DnsName) -> LookupFuture<'a, Service>;
}

/// IP version of an address record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum IpVersion {
    V4,
    V6,
}

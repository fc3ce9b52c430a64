//! The seam to the resolver.

use std::{fmt, future::Future, net::IpAddr, pin::Pin};

use crate::upstream::discovery::DiscoverError;

use super::{
    name::DnsName,
    records::{Answer, Service},
};

/// What a lookup returns.
pub(super) type LookingUp<'a, T> =
    Pin<Box<dyn Future<Output = Result<Answer<T>, DiscoverError>> + Send + 'a>>;

/// Asks DNS.
///
/// # Errors
///
/// [`DiscoverError::NoRecords`] only when DNS says so; an answer that did not come, or makes no
/// sense, is another failure. An answer has records.
pub(super) trait Lookup: fmt::Debug + Send + Sync {
    /// The A or AAAA records of a name.
    fn addresses<'a>(&'a self, name: &'a DnsName, version: IpVersion) -> LookingUp<'a, IpAddr>;

    /// The SRV records of a name.
    fn services<'a>(&'a self, name: &'a DnsName) -> LookingUp<'a, Service>;
}

/// Which kind of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IpVersion {
    V4,
    V6,
}

//! DNS discovery.
//!
//! * `name` (pure) defines names that can be looked up;
//! * `records` (pure) defines record sets, and selects the records that are used;
//! * `lookup` is the trait between discovery and the client, `client` implements it;
//! * `entry` (pure) has the rules for records whose TTL has ended, `cache` keeps the records and
//!   lets callers share queries, `events` reports on both;
//! * `resolver` joins them in [`DnsResolver`], and `resolve` makes it usable for connects;
//! * `refresh` (pure) decides when to query again, and how long upstreams outlive their records;
//! * `source` joins them in [`Dns`], `mock_dns` takes the place of the client in tests of hosts.

mod cache;
mod client;
mod entry;
mod events;
mod lookup;
#[cfg(feature = "test-util")]
pub(crate) mod mock_dns;
mod name;
mod records;
mod refresh;
mod resolve;
mod resolver;
mod source;
#[cfg(test)]
mod testing;

pub use events::DnsEvent;
pub use name::InvalidName;
pub use resolver::DnsResolver;
pub use source::{Dns, IpFamilies};

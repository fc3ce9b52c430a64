//! DNS discovery.
//!
//! * `name` (pure) defines names that can be looked up;
//! * `records` (pure) defines record sets, and selects the records that are used;
//! * `lookup` is the trait between discovery and the resolver, `resolver` implements it;
//! * `resolve` makes the same resolver usable for connects;
//! * `refresh` (pure) decides when to query again, and how long upstreams outlive their records;
//! * `source` joins them in [`Dns`].

mod lookup;
mod name;
mod records;
mod refresh;
mod resolve;
mod resolver;
mod source;

pub use name::InvalidName;
pub use resolver::DnsResolver;
pub use source::{Dns, IpFamilies};

//! Upstreams in DNS.
//!
//! * `name` (pure) is a name that can be looked up;
//! * `records` (pure) is what answers hold, and which of it counts;
//! * `lookup` is the seam to the resolver, and `resolver` what is behind it;
//! * `resolve` makes that the resolver of connects, too;
//! * `answers` (pure) says for how long they are good, and how long the last good one outlives
//!   them;
//! * `source` joins them to [`Dns`].

mod answers;
mod lookup;
mod name;
mod records;
mod resolve;
mod resolver;
mod source;

pub use name::InvalidName;
pub use resolver::DnsResolver;
pub use source::{Dns, IpFamilies};

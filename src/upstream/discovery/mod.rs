//! Service discovery: sources of a pool's upstreams.
//!
//! A source ([`Discover`]) yields sets of upstreams, and
//! [`Pool::follow`](crate::Pool::follow) applies each of them to the pool. A set without changes
//! has no effect; an upstream that comes back within ten minutes keeps its state;
//! [`PoolBuilder::removed_tunnels`](crate::pool::PoolBuilder::removed_tunnels) decides about the tunnels
//! to removed upstreams.
//!
//! # Which source, when
//!
//! | the upstreams are | source |
//! |---|---|
//! | known from the start | [`StaticSource`], or no source at all: [`Pool::new`](crate::Pool::new) |
//! | set by another part of the program | [`WatchSource`], or a `tokio::sync::mpsc::Receiver` |
//! | complete sets of a stream | [`StreamSource`] |
//! | changes of a stream: inserts and removals | [`ChangeSource`] |
//! | queried at intervals | [`PollSource`], of an asynchronous closure |
//! | in DNS (feature `dns`) | `Dns`: the addresses or the SRV records of a name |
//! | elsewhere | a [`Discover`] of yours |
//! | in several of these | [`MergeSources`] |
//!
//! | you want | take |
//! |---|---|
//! | weights, limits and tags for a source's upstreams | [`Discover::each`], which makes a [`MapUpstreams`] |
//! | the order of a source's upstreams to matter, for [`First`](crate::balance::First) | [`Discover::in_order`], which makes an [`InOrder`]; in a source of yours [`Discover::is_ordered`] |
//! | IPv4 or IPv6 alone, or first (feature `dns`) | `IpFamilies` |
//! | to know that connects use old records because DNS fails (feature `dns`) | `DnsEvent`, of `DnsResolver::on_event` |
//! | the reason why a set was not found, or a name not taken | [`DiscoverError`], `InvalidName` |
//!
//! # Failures empty nothing
//!
//! When a source fails, the pool keeps its upstreams: those that were right a minute ago are better
//! than none, and health checks detect those that are gone. The failure is logged, reported to
//! [`Observer::discovery_failed`](crate::Observer::discovery_failed) and part of
//! [`DiscoveryHandle::status`](crate::pool::DiscoveryHandle::status). An empty set is not a failure: it
//! empties the pool.
//!
//! `Dns` makes two failures an empty set after a time: `Dns::empty_grace` bounds the upstreams of a
//! name without records, and `DnsResolver::max_stale` those that are addresses while DNS fails.

mod change_source;
mod discover;
#[cfg(feature = "dns")]
pub(crate) mod dns;
mod error;
mod merge_sources;
mod next_set;
mod poll_schedule;
mod poll_source;
mod static_source;
mod stream_source;
#[cfg(test)]
pub(crate) mod testing;
mod watch_source;

pub use change_source::{Change, ChangeSource};
pub use discover::{Discover, DiscoverFuture, InOrder, MapUpstreams};
#[cfg(feature = "dns")]
#[cfg_attr(docsrs, doc(cfg(feature = "dns")))]
pub use dns::{Dns, DnsEvent, DnsResolver, InvalidName, IpFamilies};
pub use error::DiscoverError;
pub use merge_sources::MergeSources;
pub(crate) use next_set::next_set;
pub use poll_source::PollSource;
pub use static_source::StaticSource;
pub use stream_source::StreamSource;
pub use watch_source::WatchSource;

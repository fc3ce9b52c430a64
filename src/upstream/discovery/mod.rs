//! Where a pool learns which upstreams there are.
//!
//! A source ([`Discover`]) tells complete sets of upstreams, one after another, and
//! [`Pool::follow`](crate::Pool::follow) makes each of them the pool's. A set that changes nothing
//! does nothing; an upstream that comes back within ten minutes has its figures again; and what
//! becomes of the tunnels to one that is gone, [`Pool::removed_tunnels`](crate::Pool::removed_tunnels)
//! says.
//!
//! # Which source, when
//!
//! | the upstreams are | source |
//! |---|---|
//! | known from the start | [`StaticSource`], or no source at all: [`Pool::new`](crate::Pool::new) |
//! | told by another part of the program | [`WatchSource`], or a `tokio::sync::mpsc::Receiver` |
//! | brought by a stream | [`StreamSource`] |
//! | to be asked for, again and again | [`PollSource`], of an asynchronous closure |
//! | in DNS (feature `dns`) | `Dns`: the addresses or the SRV records of a name |
//! | elsewhere | a [`Discover`] of yours |
//!
//! [`Discover::each`] sets weights, limits and tags of what a source finds.
//!
//! # Failures empty nothing
//!
//! A source that fails says so, and the pool keeps what it has: upstreams that were right a minute
//! ago are a better guess than none, and health finds out about those that are gone. The failure
//! is logged, shown to [`Observer::discovery_failed`](crate::Observer::discovery_failed) and found
//! in [`DiscoveryHandle::status`](crate::DiscoveryHandle::status). A set that is empty is no failure: it empties the
//! pool. Whether DNS without records is the one or the other, `Dns::empty_grace` says.

#[cfg(feature = "dns")]
mod dns;
mod error;
mod map_upstreams;
mod pace;
mod poll_source;
mod static_source;
mod stream_source;
#[cfg(test)]
pub(crate) mod testing;
mod traits;
mod watch_source;

#[cfg(feature = "dns")]
#[cfg_attr(docsrs, doc(cfg(feature = "dns")))]
pub use dns::{Dns, DnsResolver, InvalidName, IpFamilies};
pub use error::DiscoverError;
pub use map_upstreams::MapUpstreams;
pub use poll_source::PollSource;
pub use static_source::StaticSource;
pub use stream_source::StreamSource;
pub use traits::{Discover, Discovering};
pub use watch_source::WatchSource;

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
//! | known from the start | [`Fixed`], or no source at all: [`Pool::new`](crate::Pool::new) |
//! | told by another part of the program | [`Watched`], or a `tokio::sync::mpsc::Receiver` |
//! | brought by a stream | [`Streamed`] |
//! | to be asked for, again and again | [`Every`], of an asynchronous closure |
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
//! in [`Follow::status`](crate::Follow::status). A set that is empty is no failure: it empties the
//! pool. Whether DNS without records is the one or the other, `Dns::empty_grace` says.

#[cfg(feature = "dns")]
mod dns;
mod each;
mod error;
mod every;
mod fixed;
mod pace;
mod streamed;
#[cfg(test)]
pub(crate) mod testing;
mod traits;
mod watched;

#[cfg(feature = "dns")]
#[cfg_attr(docsrs, doc(cfg(feature = "dns")))]
pub use dns::{Dns, DnsResolver, InvalidName, IpFamilies};
pub use each::Each;
pub use error::DiscoverError;
pub use every::Every;
pub use fixed::Fixed;
pub use streamed::Streamed;
pub use traits::{Discover, Discovering};
pub use watched::Watched;

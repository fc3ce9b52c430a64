//! Load balancing: picks one of the usable upstreams for each request.
//!
//! [`Balance`] is the trait of policies. A policy gets the upstreams that may be picked now, with
//! their current counts and latency, and the request head. Closures are policies.
//! [`PoolBuilder::balance`](crate::pool::PoolBuilder::balance) sets a pool's policy, and
//! [`ProxyLayer::balance`](crate::ProxyLayer::balance) that of one of its routes.
//!
//! # Policies
//!
//! | policy | picks | use it when | Envoy | HAProxy |
//! |---|---|---|---|---|
//! | [`LeastTunnels`] | of two random upstreams, the one with fewer tunnels | you have no reason for another: it is the default | `LEAST_REQUEST` | `random(2)` |
//! | [`LeastTunnels::exact`] | the upstream with the fewest tunnels | there are few upstreams behind a single proxy | `LEAST_REQUEST` with `FULL_SCAN` | `leastconn` |
//! | [`LowestLatency`] | of two random upstreams, the one with the shorter expected handshake | upstreams are at different distances, and tunnels are cheap to hold | | |
//! | [`RoundRobin`] | each in turn | tunnels are short and alike, or a test needs a known order | `ROUND_ROBIN`, equal weights | `roundrobin`, equal weights |
//! | [`WeightedRoundRobin`] | each in turn, as often as its weight | upstreams differ in size and tunnels are short | `ROUND_ROBIN` | `roundrobin` |
//! | [`Random`] | at random, by weight | many proxies must not move in step, and need no counts | `RANDOM` | `random(1)` |
//! | [`First`] | the first usable upstream | the others are spares | priority levels | `backup` servers |
//! | [`Rendezvous`] | by a hash of a value in the request | the users of a room, a document or a tenant should meet on one upstream | `RING_HASH`, `MAGLEV` | `balance hash` with `hash-type consistent` |
//! | [`ByTag`] | another policy's choice of the upstreams with a tag | a request belongs to a zone, a tenant or a release | subset load balancing | `use-server` |
//! | `Sticky` (feature `sticky`) | the upstream named by the client's cookie | a returning client should reach the upstream with its state | stateful session, cookie | `cookie` |
//!
//! A tunnel counts from its pick to its end, possibly for hours; for this reason the default
//! compares tunnels rather than taking turns. After a restart of half of the upstreams, round robin
//! would keep the other half full for as long as its tunnels live.
//!
//! Comparing only two upstreams does more than save time. Proxies that do not know of each other
//! would all pick the emptiest upstream at once if each compared all of them.
//!
//! # Rules for all policies
//!
//! - An upstream of weight 0 is never picked.
//! - An upstream in a [slow start](Candidate::readiness) gets a part of its share that grows to the
//!   whole. [`First`], [`Rendezvous`] and `Sticky` ignore slow starts: their choice depends on the
//!   upstream's identity.
//! - An upstream that is half-open gets no more clients than
//!   [may try it](crate::pool::PoolBuilder::half_open_limit) while there is another.
//! - `None` means that no candidate is usable. [`or_else`](Balance::or_else) then tries another
//!   policy.
//! - Randomness comes from the thread's `fastrand` generator.
//!
//! # A policy of your own
//!
//! | you want | take |
//! |---|---|
//! | the candidates of a pick, and why one is not usable | [`Candidates`], [`Candidate::is_full`] |
//! | an upstream's weight with its slow start | [`Candidate::effective_weight`] |
//! | another policy where this one finds none | [`Balance::or_else`], which makes an [`OrElse`] |
//! | requests of one group to wait behind each other in the pool's queue, and not behind all | [`Balance::queue_group`] |
//! | a header or cookie in the response that leads back to the upstream | [`Balance::response_header`]; `InvalidSticky` is the error of `Sticky`'s key and name |
//!
//! # Examples
//!
//! ```
//! use wsplice::{
//!     Pool,
//!     balance::{Balance, Candidates, LeastTunnels, Rendezvous},
//!     head::RequestHead,
//! };
//!
//! let near = |candidates: &Candidates<'_>, _: &RequestHead<'_>| {
//!     candidates.iter().position(|candidate| candidate.tag("zone") == Some("a"))
//! };
//! let pool = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?
//!     .balance(near.or_else(LeastTunnels::new()));
//!
//! let rooms = Pool::new(["ws://10.0.0.3:8080", "ws://10.0.0.4:8080"])?
//!     .balance(Rendezvous::by_query("room"));
//! # let _ = (pool, rooms);
//! # Ok::<(), wsplice::connect::InvalidAddress>(())
//! ```

mod any_balance;
mod by_tag;
mod candidate_list;
mod candidates;
mod cookies;
mod first;
mod least_tunnels;
mod lowest_latency;
#[cfg(any(test, feature = "test-util"))]
pub(crate) mod mock_candidates;
mod policy;
mod preference;
mod random;
mod rendezvous;
mod request_key;
mod round_robin;
mod sampling;
#[cfg(feature = "sticky")]
mod sticky;
#[cfg(test)]
mod testing;
mod turns;
mod used_up_rates;
mod weight_index;
mod weighted_round_robin;

pub use any_balance::AnyBalance;
pub use by_tag::ByTag;
pub(crate) use candidate_list::CandidateList;
pub use candidates::{Candidate, Candidates};
pub use first::First;
pub use least_tunnels::LeastTunnels;
pub use lowest_latency::LowestLatency;
#[cfg(test)]
pub(crate) use mock_candidates::MockCandidates;
pub use policy::{Balance, OrElse};
pub(crate) use preference::Preference;
pub use random::Random;
pub use rendezvous::Rendezvous;
pub use round_robin::RoundRobin;
#[cfg(feature = "sticky")]
#[cfg_attr(docsrs, doc(cfg(feature = "sticky")))]
pub use sticky::{InvalidSticky, SameSite, Sticky};
pub use weighted_round_robin::WeightedRoundRobin;

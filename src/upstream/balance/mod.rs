//! Stage 3: which of the upstreams.
//!
//! [`Balance`] is the seam; a policy sees the upstreams that may be picked now, with their live
//! figures, and the request. Closures are policies. [`Pool::balance`](crate::Pool::balance) sets
//! one for a pool.
//!
//! # Which policy when
//!
//! | policy | picks | take it when |
//! |---|---|---|
//! | [`LeastTunnels`] | of two at random, the one with fewer tunnels | you have no reason for another: it is the default |
//! | [`LeastTunnels::exact`] | the one with the fewest tunnels of all | there are few upstreams and this proxy is the only one in front of them |
//! | [`LowestLatency`] | of two at random, the one that answers sooner | upstreams are differently far away, and tunnels are cheap to hold |
//! | [`RoundRobin`] | one after the other | tunnels are short and alike, or a test has to know what comes next |
//! | [`WeightedRoundRobin`] | as often as the weights say, well mixed | upstreams are of different sizes and tunnels short |
//! | [`Random`] | at random, by weight | many proxies must not move in step, and need no figures |
//! | [`First`] | the first that can be used | the others are spares |
//! | [`Rendezvous`] | by a hash of something in the request | those who share a room, a document or a tenant should meet on one upstream |
//! | `Sticky` (feature `sticky`) | the one that the client's cookie names | a client that comes back should find the upstream that knows it |
//!
//! A tunnel counts from its pick to its end, for hours if it lives for hours; that is why the
//! default looks at tunnels and not at turns. After a restart of half of the upstreams round
//! robin would keep the other half full for as long as its tunnels live.
//!
//! Looking at only two upstreams is not a saving alone. Proxies that do not know of each other
//! would all send to the emptiest upstream at once if each looked at all of them.
//!
//! # What holds for all
//!
//! - An upstream of weight 0 gets nothing.
//! - One in a [slow start](Candidate::readiness) gets a part of its share that grows to the
//!   whole. [`First`], [`Rendezvous`] and `Sticky` look away from it: they are about *which*
//!   upstream, not about how much.
//! - `None` means that there is none to use. [`or_else`](Balance::or_else) then asks another.
//! - Randomness comes from the thread's `fastrand` generator.
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
mod candidates;
mod cookies;
mod first;
mod least_tunnels;
mod lowest_latency;
mod mock_candidates;
mod or_else;
mod random;
mod rendezvous;
mod request_key;
mod round_robin;
mod sampling;
#[cfg(feature = "sticky")]
mod sticky;
#[cfg(test)]
mod testing;
mod traits;
mod weighted_round_robin;

pub use any_balance::AnyBalance;
pub use candidates::{Candidate, Candidates};
pub use first::First;
pub use least_tunnels::LeastTunnels;
pub use lowest_latency::LowestLatency;
pub use mock_candidates::MockCandidates;
pub use or_else::OrElse;
pub use random::Random;
pub use rendezvous::Rendezvous;
pub use round_robin::RoundRobin;
#[cfg(feature = "sticky")]
#[cfg_attr(docsrs, doc(cfg(feature = "sticky")))]
pub use sticky::{InvalidSticky, SameSite, Sticky};
pub use traits::Balance;
pub use weighted_round_robin::WeightedRoundRobin;

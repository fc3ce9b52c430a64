//! Upstreams: the definition of one, and all decisions about one.
//!
//! * `definition` defines [`Upstream`], `member` its state in a pool.
//! * `admission` limits tunnels and handshakes, `retry` decides about further attempts.
//! * [`health`] decides which upstreams are usable, [`balance`] which of them is picked.
//! * [`discovery`] finds upstreams.

mod close_order;
mod counters;
mod guarded;
mod latency;
mod member;
mod member_health;
mod sliding_window;
mod upstream;

pub(crate) mod admission;
pub mod balance;
pub mod discovery;
pub mod health;
pub(crate) mod retry;

pub(crate) use close_order::{CloseOrder, OrderedAction};
pub use counters::UpstreamCounters;
pub(crate) use guarded::{Guarded, LockRank, Ranked, refuse_under_lock};
pub(crate) use member::Member;
pub(crate) use member_health::{CountedHealth, MemberHealth};
pub use upstream::Upstream;

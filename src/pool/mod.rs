//! Stage 3: the upstreams of a route, and how one of them is leased.
//!
//! * `handle` is [`Pool`] itself: settings, and edits while it runs;
//! * `pick` leases an upstream, by the limits, the queue and the policy;
//! * `queue` is the line of those who wait for a turn;
//! * `state` is what all its clones share: the roster, the gate, the queue;
//! * `roster` (pure) is the list of members that picks look at, replaced whole on every change;
//! * `health` takes what handshakes, tunnels and probes tell, and decides who may be picked;
//! * `monitor` is the task that probes;
//! * `retries` counts requests and retries, and holds the retries down;
//! * `follow` is the task that makes what a source tells the pool's upstreams;
//! * `lease` is a tunnel's claim on an upstream and on the pool.

mod follow;
mod handle;
mod health;
mod lease;
mod monitor;
mod pick;
mod queue;
mod retries;
mod roster;
mod settings;
mod state;

pub use follow::{Follow, FollowStatus};
pub use handle::Pool;
pub use health::UpstreamStatus;
pub(crate) use lease::Lease;
pub use retries::RetryStatus;
pub use settings::LostTunnels;

//! Stage 3: the upstreams of a route, and how one of them is leased.
//!
//! * `handle` is [`Pool`] itself: settings, and edits while it runs;
//! * `pick` leases an upstream, by the limits, the queue and the policy;
//! * `queue` is the line of those who wait for a turn;
//! * `state` is what all its clones share: the roster, the gate, the queue;
//! * `roster` (pure) is the list of members that picks look at, replaced whole on every change;
//! * `lease` is a tunnel's claim on an upstream and on the pool;
//! * `health` takes what handshakes, tunnels and probes tell, and decides who may be picked;
//! * `compare` ejects those who do worse than the others;
//! * `alarm` (pure) is when any of that changes by itself;
//! * `monitor` is the task that probes and looks at the alarm, `line` who is probed next, `bell`
//!   how it is woken;
//! * `drains` takes an upstream out of use, `lost` closes the tunnels of those that are lost;
//! * `retries` counts requests and retries, and holds the retries down;
//! * `follow` is the task that makes what a source tells the pool's upstreams;
//! * `news` tells observers and the log, `status` whoever asks.

mod alarm;
mod bell;
mod compare;
mod discovery;
mod drains;
mod handle;
mod health;
mod lease;
mod line;
mod monitor;
mod news;
mod pick;
mod queue;
mod retries;
mod roster;
mod settings;
mod state;
mod status;
mod upstream_loss;

#[cfg(test)]
mod tests;

pub use discovery::{DiscoveryHandle, DiscoveryStatus};
pub use handle::Pool;
pub(crate) use lease::Lease;
pub use retries::RetryStatus;
pub use settings::OnUpstreamLoss;
pub use status::UpstreamStatus;

//! Pool: the upstreams of a route, and the lease of one of them.
//!
//! | you want | take |
//! |---|---|
//! | a pool with its defaults | [`Pool::new`](crate::Pool::new), which makes a [`PoolBuilder`] |
//! | health checks, balancing, limits, a queue | the setters of [`PoolBuilder`] |
//! | the end or the move of tunnels whose upstream fails or is removed | [`OnUpstreamLoss`] |
//! | to choose the failures after which another upstream is tried | [`RetryOn`], for [`Retry`](crate::Retry) |
//! | to bound the retries of all requests together | [`RetryBudget`]; its use: [`RetryStatus`] |
//! | to show or check an upstream | [`UpstreamStatus`], with its [`UpstreamCounters`] |
//! | upstreams from DNS or another source | [`Pool::follow`](crate::Pool::follow), which returns a [`DiscoveryHandle`] with a [`DiscoveryStatus`] |
//! | to know how old the source's last set is, and why there is no newer one | [`DiscoveryStatus::found_at`], [`DiscoveryStatus::last_failure`] |
//!
//! * `builder` holds the settings of a pool until it is built;
//! * `handle` defines [`Pool`] itself and edits it while it is in use, `operations` has an operator's
//!   commands on one upstream, `status` shows the pool;
//! * `pick` leases an upstream, by the limits of the pool (`admission_guard`), the queue and the
//!   balancing policy;
//! * `queue` holds the handshakes that wait for a limit;
//! * `refusal` (pure) explains why no upstream can be leased, `route_gate` holds a route's own limits;
//! * `lease` counts a tunnel at its upstream and its pool, and reports its events;
//! * `granted_retry` is refunded to the budget unless it is made;
//! * `state` is shared by all clones: the member set and its edits, the limiter, the queue;
//! * `member_set` (pure) is the list of members that picks read, `refresh` replaces it after changes
//!   of health;
//! * `turn` lets one thread at a time do what others cause, too;
//! * `health` takes in the events of handshakes, tunnels and probes, and steps the trackers;
//! * `outliers` ejects upstreams that do worse than the others;
//! * `next_change` (pure) holds the times at which health changes without an event, by upstream;
//! * `monitor` is the task that probes and applies timed changes, `probe_queue` orders the probes,
//!   `monitor_waker` wakes the task;
//! * `discovery` is the task that applies the sets of a discovery source;
//! * `notifier` reports changes to observers and the log.

mod admission_guard;
mod builder;
mod discovery;
mod granted_retry;
pub(crate) mod handle;
mod health;
mod lease;
mod member_set;
mod monitor;
mod monitor_waker;
mod next_change;
mod notifier;
mod operations;
mod outliers;
mod pick;
mod probe_queue;
mod queue;
mod refresh;
mod refusal;
mod route_gate;
mod settings;
mod state;
mod status;
mod turn;

#[cfg(test)]
mod tests;

pub use builder::PoolBuilder;
pub use discovery::{DiscoveryHandle, DiscoveryStatus};
pub(crate) use granted_retry::GrantedRetry;
pub(crate) use handle::Pool;
pub(crate) use lease::Lease;
pub use settings::OnUpstreamLoss;
pub use status::{RetryStatus, UpstreamStatus};

pub use crate::upstream::{
    UpstreamCounters,
    retry::{RetryBudget, RetryOn},
};

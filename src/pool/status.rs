//! What a pool shows: a snapshot of its upstreams, its queue and its retries.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    upstream::health::{HealthControl, HealthEvent, HealthState},
    upstream::retry::Cost,
    upstream::{Member, UpstreamCounters, refuse_under_lock},
};

use super::handle::Pool;

/// Snapshot of an upstream of a pool; see [`Pool::snapshot`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UpstreamStatus {
    /// Name of the upstream.
    pub name: Arc<str>,
    /// Health state, with its time and cause.
    pub health: HealthState,
    /// Whether the upstream may get new tunnels: by its health and the pool's
    /// [`Availability`](crate::health::availability::Availability), its weight, and unless it is being drained.
    pub is_used: bool,
    /// Time at which its [drain](Pool::drain) began.
    pub draining: Option<Instant>,
    /// Weight of the upstream.
    pub weight: u32,
    /// Number of open tunnels, including those whose handshake is under way, and of forwarded
    /// requests under way.
    pub tunnels: usize,
    /// Number of handshakes under way.
    pub handshakes: usize,
    /// Smoothed duration of clients' handshakes with the upstream, and of pings to it.
    pub latency: Option<Duration>,
    /// Whether events control its health, or the operator; see [`Pool::control_health`].
    pub control: HealthControl,
    /// Whether the upstream has failed clients lately, so that others are preferable.
    pub is_doubted: bool,
    /// Counts since it joined the pool.
    pub counters: UpstreamCounters,
    /// Result and time of its last probe, with the duration if it passed.
    pub last_probe: Option<HealthEvent>,
}

/// Counts of a pool's retries; see [`Pool::retries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryStatus {
    /// Retries since the pool was created.
    pub made: u64,
    /// Retries that the budget has denied since then: the request ended with the result of its last
    /// attempt.
    pub denied: u64,
    /// Number of further retries that are allowed now; five times as many after failures to
    /// connect.
    pub left: u64,
}

impl Pool {
    /// Returns the counts of retries over all layers, and the rest of the budget; see
    /// [`PoolBuilder::retry_budget`](super::PoolBuilder::retry_budget).
    #[must_use]
    pub fn retries(&self) -> RetryStatus {
        let mut window = self.state.retry_window();
        RetryStatus {
            made: window.made(),
            denied: window.denied(),
            left: window.remaining(
                &self.state.settings().retry_budget,
                Cost::Request,
                Instant::now(),
            ),
        }
    }

    /// Returns the number of handshakes that wait in the [queue](crate::pool::PoolBuilder::queue) now.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        self.state.queue().len()
    }

    /// Returns a snapshot of every upstream, in the pool's order.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::Pool;
    ///
    /// let pool = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?.build();
    /// for upstream in pool.snapshot() {
    ///     println!("{}: {}, {} tunnels", upstream.name, upstream.health, upstream.tunnels);
    /// }
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> Vec<UpstreamStatus> {
        refuse_under_lock();
        let now = Instant::now();
        let set = self.state.current_members(now);
        let status = |member: &Arc<Member>| {
            let (health, control, last_probe) =
                self.state.with_member_health(member, now, |health, _| {
                    let tracker = &health.tracker;
                    let state = tracker.state().clone();
                    (state, tracker.control(), health.last_probe.clone())
                });
            UpstreamStatus {
                name: member.shared_name(),
                health,
                is_used: member.is_used(),
                draining: member.draining_since(),
                weight: member.weight(),
                tunnels: member.tunnels(),
                handshakes: member.handshakes(),
                latency: member.latency(),
                control,
                is_doubted: member.is_doubted(now),
                counters: member.event_counters().snapshot(),
                last_probe,
            }
        };
        set.members().iter().map(status).collect()
    }
}

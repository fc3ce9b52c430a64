//! Snapshot of a pool's upstreams.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    upstream::Member,
    upstream::health::{HealthEvent, HealthState},
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
    /// [`Availability`](crate::health::Availability), its weight, and unless it is being drained.
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
    /// Result and time of its last probe, with the duration if it passed.
    pub last_probe: Option<HealthEvent>,
}

impl Pool {
    /// Returns the number of handshakes that wait in the [queue](Self::queue) now.
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
        let now = Instant::now();
        let set = self.state.current_members(now);
        let status = |member: &Arc<Member>| {
            let (health, last_probe) = self.state.with_member_health(member, now, |health, _| {
                (health.tracker.state().clone(), health.last_probe.clone())
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
                last_probe,
            }
        };
        set.members().iter().map(status).collect()
    }
}

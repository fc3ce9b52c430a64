//! What a pool shows of its upstreams.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    upstream::Member,
    upstream::health::{HealthEvent, HealthState},
};

use super::handle::Pool;

/// An upstream of a pool as it stands at one moment; see [`Pool::snapshot`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UpstreamStatus {
    /// Its name.
    pub name: Arc<str>,
    /// What it is taken for, since when, and why.
    pub health: HealthState,
    /// Whether it may get new tunnels: by its health and the pool's
    /// [`Availability`](crate::health::Availability), its weight, and unless it is being drained.
    pub is_used: bool,
    /// Since when it is being [drained](Pool::drain).
    pub draining: Option<Instant>,
    /// Its weight.
    pub weight: u32,
    /// Tunnels open to it, those included that are still shaking hands, and forwarded requests
    /// under way.
    pub tunnels: usize,
    /// Handshakes with it that are under way.
    pub handshakes: usize,
    /// Smoothed time of clients' handshakes with it, and of the pings to it.
    pub latency: Option<Duration>,
    /// What its last probe told, when, and how long it took if it passed.
    pub last_probe: Option<HealthEvent>,
}

impl Pool {
    /// Every upstream with its health and figures at this moment, in the pool's order.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::Pool;
    ///
    /// let pool = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?;
    /// for upstream in pool.snapshot() {
    ///     println!("{}: {}, {} tunnels", upstream.name, upstream.health, upstream.tunnels);
    /// }
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> Vec<UpstreamStatus> {
        let now = Instant::now();
        let roster = self.state.fresh_roster(now);
        let status = |member: &Arc<Member>| {
            let (health, last_probe) = self.state.watching(member, now, |watch, _| {
                (watch.standing.state().clone(), watch.last_probe.clone())
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
        roster.members().iter().map(status).collect()
    }
}

//! Snapshot of a pool's upstreams.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    upstream::health::{Doubt, HealthControl, HealthEvent, HealthState},
    upstream::{Member, UpstreamCounters},
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
    /// Whether it has failed clients lately, and others are asked first.
    pub is_doubted: bool,
    /// Counts since it joined the pool.
    pub counters: UpstreamCounters,
    /// Result and time of its last probe, with the duration if it passed.
    pub last_probe: Option<HealthEvent>,
}

impl Pool {
    /// Returns the number of handshakes that wait in the [queue](crate::PoolBuilder::queue) now.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        self.state.queue().len()
    }

    /// Gives the control of an upstream's health to the operator, or back to events. False if no
    /// upstream has this name.
    ///
    /// An upstream that is forced to be unhealthy gets no new tunnels, and its open ones are treated
    /// as [`unhealthy_tunnels`](crate::PoolBuilder::unhealthy_tunnels) says. Probes go on, and are
    /// shown by [`snapshot`](Self::snapshot). Back under the control of events it is healthy until
    /// they show otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Pool, health::HealthControl};
    ///
    /// let pool = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?.build();
    /// assert!(pool.control_health("10.0.0.1:8080", HealthControl::ForcedUnhealthy));
    /// assert!(!pool.snapshot()[0].is_used);
    /// assert!(pool.control_health("10.0.0.1:8080", HealthControl::Auto));
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn control_health(&self, name: &str, control: HealthControl) -> bool {
        let set = self.state.member_set();
        let Some(member) = set.by_name(name) else {
            return false;
        };
        let now = Instant::now();
        self.state
            .with_member_health(member, now, |health, settings| {
                self.state.step(member, health, settings, now, |health, _| {
                    health.tracker.set_control(control, now)
                })
            });
        member.with_doubt(Doubt::succeed);
        self.state.refresh(now);
        true
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

//! The health of one member of a pool.

use tokio::time::Instant;

use super::{
    guarded::{LockRank, Ranked},
    health::{
        EjectedBy, HealthEvent, HealthState, HealthTracker, outlier::EventCounts, probe::ProbeTimes,
    },
};

/// Health of an upstream, and its probe schedule.
#[derive(Debug)]
pub(crate) struct MemberHealth {
    pub(crate) tracker: HealthTracker,
    pub(crate) probe_times: ProbeTimes,
    pub(crate) last_probe: Option<HealthEvent>,
    /// Time of the next look without an event, if one is scheduled.
    pub(crate) due_at: Option<Instant>,
    /// Events since the pool's upstreams were last compared.
    pub(crate) event_counts: EventCounts,
    /// Health as it was counted last among that of the pool's upstreams.
    pub(crate) counted: Option<CountedHealth>,
}

impl Ranked for Option<MemberHealth> {
    const RANK: LockRank = LockRank::Health;
}

/// Health of an upstream as far as availability policies see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CountedHealth {
    pub(crate) unhealthy_since: Option<Instant>,
    pub(crate) ejected_by: EjectedBy,
}

impl CountedHealth {
    pub(crate) fn of(health: &MemberHealth) -> Self {
        let unhealthy_since = match health.tracker.state() {
            HealthState::Unhealthy { since, .. } => Some(*since),
            _ => None,
        };
        Self {
            unhealthy_since,
            ejected_by: health.tracker.ejected_by(),
        }
    }
}

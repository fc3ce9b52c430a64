//! Availability policy that bounds the share of ejected upstreams. Pure.

use super::{
    admitted::Admitted, health_counts::HealthCounts, policy::Availability,
    upstream_health::UpstreamHealth,
};

/// Availability policy that ejects no more than a share of the upstreams: those that have been
/// unhealthy the longest. The other unhealthy upstreams are used nevertheless.
///
/// The number is rounded down, but is at least one in a pool of two or more. Of several that became
/// unhealthy together, the first in the pool is ejected.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::health::availability::{MaxEjectionPercent, Availability, UpstreamHealth};
///
/// let now = tokio::time::Instant::now();
/// let old = UpstreamHealth::unhealthy(now);
/// let new = UpstreamHealth::unhealthy(now + Duration::from_secs(1));
///
/// let admitted = MaxEjectionPercent::percent(50).admit(&[new, old, new, UpstreamHealth::healthy(), old]);
/// assert_eq!(admitted.iter().collect::<Vec<_>>(), [0, 2, 3]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxEjectionPercent {
    percent: u8,
}

impl MaxEjectionPercent {
    /// Creates the policy with the maximum share of ejected upstreams, in percent; 0 ejects none.
    #[must_use]
    pub const fn percent(percent: u8) -> Self {
        Self { percent }
    }

    fn ejectable(self, pool: usize) -> usize {
        let share = pool.saturating_mul(self.percent.into()) / 100;
        if self.percent > 0 && pool > 1 {
            share.max(1)
        } else {
            share
        }
    }
}

impl Availability for MaxEjectionPercent {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        let mut unhealthy: Vec<_> = pool
            .iter()
            .enumerate()
            .filter(|(_, health)| !health.is_draining)
            .filter_map(|(index, health)| health.unhealthy_since.map(|since| (since, index)))
            .collect();
        unhealthy.sort_unstable();
        let mut admitted = Admitted::healthy(pool);
        let serving = pool.iter().filter(|health| !health.is_draining).count();
        for (_, index) in unhealthy.into_iter().skip(self.ejectable(serving)) {
            admitted.insert(index);
        }
        admitted
    }

    fn uses_the_healthy(&self, counts: &HealthCounts) -> bool {
        counts.weightless == 0
            && counts.serving.saturating_sub(counts.healthy) <= self.ejectable(counts.serving)
    }
}

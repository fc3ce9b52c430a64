//! Availability policy that uses all upstreams once few are healthy. Pure.

use super::{
    admitted::Admitted, health_counts::HealthCounts, policy::Availability,
    upstream_health::UpstreamHealth,
};

/// Availability policy that uses all upstreams once too few are healthy: those few could not carry
/// the load, and when so many fail at once, the check itself may be at fault.
///
/// # Examples
///
/// ```
/// use wsplice::health::availability::{Admitted, Availability, UpstreamHealth, PanicThreshold};
///
/// let now = tokio::time::Instant::now();
/// let (healthy, unhealthy) = (UpstreamHealth::healthy(), UpstreamHealth::unhealthy(now));
///
/// let panic = PanicThreshold::below(0.5);
/// assert_eq!(panic.admit(&[healthy, unhealthy]).len(), 1);
/// assert_eq!(panic.admit(&[healthy, unhealthy, unhealthy]).len(), 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PanicThreshold {
    share: f64,
}

impl PanicThreshold {
    /// Creates the policy with a threshold from 0 to 1: all upstreams are used while a smaller
    /// share is healthy. The share is measured by weight, or by number if no upstream has a weight.
    #[must_use]
    pub const fn below(share: f64) -> Self {
        Self { share }
    }
}

impl Availability for PanicThreshold {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        let by_weight = |health: &UpstreamHealth<'_>| u64::from(health.weight);
        let healthy = healthy_share(pool, by_weight).or_else(|| healthy_share(pool, |_| 1));
        if healthy.is_some_and(|share| share < self.share) {
            Admitted::all(pool)
        } else {
            Admitted::healthy(pool)
        }
    }

    fn uses_the_healthy(&self, counts: &HealthCounts) -> bool {
        counts
            .healthy_share()
            .is_some_and(|healthy| healthy >= self.share)
    }
}

#[allow(clippy::cast_precision_loss)] // a share need not be exact
fn healthy_share(
    pool: &[UpstreamHealth<'_>],
    size: impl Fn(&UpstreamHealth<'_>) -> u64,
) -> Option<f64> {
    let serving = pool.iter().filter(|health| !health.is_draining);
    let all: u64 = serving.clone().map(&size).sum();
    let healthy: u64 = serving
        .filter(|health| health.is_healthy())
        .map(&size)
        .sum();
    (all > 0).then(|| healthy as f64 / all as f64)
}

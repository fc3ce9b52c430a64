//! Availability policy that keeps one upstream in use. Pure.

use std::cmp::Reverse;

use super::{
    admitted::Admitted, health_counts::HealthCounts, policy::Availability,
    upstream_health::UpstreamHealth,
};

/// Availability policy that keeps one upstream in use when all are unhealthy: among those with a
/// weight, the one that became unhealthy last. Ties go to the first in the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepLast;

impl Availability for KeepLast {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        let mut admitted = Admitted::healthy(pool);
        let is_serving = |index: usize| {
            let health = pool.get(index);
            health.is_some_and(|health| !health.is_draining && health.weight > 0)
        };
        if !admitted.iter().any(is_serving) {
            let last = (0..pool.len()).max_by_key(|index| {
                let health = pool.get(*index);
                let key = health.map(|health| {
                    let is_serving = health.weight > 0 && !health.is_draining;
                    (is_serving, health.unhealthy_since)
                });
                (key, Reverse(*index))
            });
            if let Some(last) = last {
                admitted.insert(last);
            }
        }
        admitted
    }

    fn uses_the_healthy(&self, counts: &HealthCounts) -> bool {
        counts.healthy > 0
    }
}

//! Availability policy that uses healthy upstreams only. Pure.

use super::{
    admitted::Admitted, health_counts::HealthCounts, policy::Availability,
    upstream_health::UpstreamHealth,
};

/// Availability policy that uses healthy upstreams only; without one, clients get 503.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailClosed;

impl Availability for FailClosed {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        Admitted::healthy(pool)
    }

    fn uses_the_healthy(&self, _: &HealthCounts) -> bool {
        true
    }
}

//! Counts of a pool's upstreams by their health. Pure.

use crate::upstream::health::health_state::EjectedBy;

use super::upstream_health::UpstreamHealth;

/// Counts of a pool's upstreams by their health, as input of
/// [`Availability::uses_the_healthy`](super::Availability::uses_the_healthy).
///
/// Upstreams that are drained are not counted, and those without weight only as
/// [`weightless`](Self::weightless).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthCounts {
    /// Number of upstreams with a weight.
    pub serving: usize,
    /// Number of those that are healthy or half-open.
    pub healthy: usize,
    /// Number of those that are unhealthy by the news of clients.
    pub by_clients: usize,
    /// Number of those that the operator has forced to be unhealthy.
    pub forced: usize,
    /// Number of upstreams without a weight, which get no clients.
    pub weightless: usize,
    /// Sum of the weights.
    pub weight: u64,
    /// Sum of the weights of those that are healthy or half-open.
    pub healthy_weight: u64,
}

impl HealthCounts {
    /// Returns the counts of these upstreams.
    #[must_use]
    pub fn of(pool: &[UpstreamHealth<'_>]) -> Self {
        let mut counts = Self::default();
        for health in pool {
            counts.add(health);
        }
        counts
    }

    pub(crate) fn add(&mut self, health: &UpstreamHealth<'_>) {
        self.change(health, |count| *count += 1, |sum, weight| *sum += weight);
    }

    /// Removes an upstream that was counted with this health.
    pub(crate) fn remove(&mut self, health: &UpstreamHealth<'_>) {
        self.change(
            health,
            |count| *count = count.saturating_sub(1),
            |sum, weight| *sum = sum.saturating_sub(weight),
        );
    }

    /// Returns the share of the healthy upstreams by weight; `None` without any weight.
    #[allow(clippy::cast_precision_loss)] // a share need not be exact
    #[must_use]
    pub fn healthy_share(&self) -> Option<f64> {
        (self.weight > 0).then(|| self.healthy_weight as f64 / self.weight as f64)
    }

    /// Whether an upstream is unhealthy that may be used for want of a better one.
    pub(crate) const fn has_last_resort(&self) -> bool {
        self.healthy + self.forced < self.serving
    }

    fn change(
        &mut self,
        health: &UpstreamHealth<'_>,
        count: impl Fn(&mut usize),
        sum: impl Fn(&mut u64, u64),
    ) {
        if health.is_draining {
            return;
        }
        if health.weight == 0 {
            return count(&mut self.weightless);
        }
        count(&mut self.serving);
        sum(&mut self.weight, health.weight.into());
        if health.is_healthy() {
            count(&mut self.healthy);
            return sum(&mut self.healthy_weight, health.weight.into());
        }
        match health.ejected_by {
            EjectedBy::Clients => count(&mut self.by_clients),
            EjectedBy::Operator => count(&mut self.forced),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::*;
    use crate::upstream::health::availability::{
        Admitted, Availability, FailClosed, KeepLast, MaxEjectionPercent, PanicThreshold, Standard,
    };

    fn health() -> impl Strategy<Value = UpstreamHealth<'static>> {
        let start = Instant::now();
        (0..6_u8, 0..9_u64, 0..3_u32, 0..8_u8).prop_map(move |(state, at, weight, drain)| {
            let unhealthy = UpstreamHealth::unhealthy(start + Duration::from_secs(at));
            let health = match state {
                0 => unhealthy.by(EjectedBy::Failure),
                1 => unhealthy.by(EjectedBy::Clients),
                2 => unhealthy.by(EjectedBy::Operator),
                _ => UpstreamHealth::healthy(),
            };
            let health = health.weight(weight);
            if drain == 0 {
                health.draining()
            } else {
                health
            }
        })
    }

    proptest! {
        #[test]
        fn counts_that_show_that_only_the_healthy_are_used_are_right(
            pool in proptest::collection::vec(health(), 0..12),
            share in 0.0..1.0_f64,
            percent in 0..=100_u8,
        ) {
            let policies: [Arc<dyn Availability>; 6] = [
                Arc::new(Standard),
                Arc::new(FailClosed),
                Arc::new(KeepLast),
                Arc::new(PanicThreshold::below(share)),
                Arc::new(MaxEjectionPercent::percent(percent)),
                Arc::new(Standard.or(MaxEjectionPercent::percent(percent))),
            ];
            let counts = HealthCounts::of(&pool);
            for policy in policies {
                if policy.uses_the_healthy(&counts) {
                    prop_assert_eq!(policy.admit(&pool), Admitted::healthy(&pool), "{:?}", policy);
                }
            }
        }

        #[test]
        fn counts_that_change_one_by_one_are_those_of_the_whole(
            pool in proptest::collection::vec((health(), health()), 0..12),
        ) {
            let before: Vec<_> = pool.iter().map(|(before, _)| *before).collect();
            let after: Vec<_> = pool.iter().map(|(_, after)| *after).collect();
            let mut counts = HealthCounts::of(&before);
            for (before, after) in &pool {
                counts.remove(before);
                counts.add(after);
            }
            prop_assert_eq!(counts, HealthCounts::of(&after));
        }
    }
}

//! Availability policy that is the default. Pure.

use crate::upstream::health::health_state::EjectedBy;

use super::{
    admitted::Admitted, health_counts::HealthCounts, policy::Availability,
    upstream_health::UpstreamHealth,
};

/// Availability policy that is the default.
///
/// On the news of clients alone, and by comparison with the others, no more than half of the
/// upstreams are left out, but at least one may be: those that have been unhealthy the longest.
/// Failed connects and failed probes are certain, and are not limited. Once no upstream is healthy,
/// all are used, but for those that the operator has [forced](crate::Pool::control_health) to be
/// unhealthy: the check itself may be at fault, and a doubtful upstream is better than none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standard;

impl Availability for Standard {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        let serving = |health: &&UpstreamHealth<'_>| !health.is_draining && health.weight > 0;
        if !pool.iter().filter(serving).any(UpstreamHealth::is_healthy) {
            let mut admitted = Admitted::healthy(pool);
            for (index, health) in pool.iter().enumerate() {
                if health.ejected_by != EjectedBy::Operator {
                    admitted.insert(index);
                }
            }
            return admitted;
        }
        let mut by_clients: Vec<_> = pool
            .iter()
            .enumerate()
            .filter(|(_, health)| serving(health) && health.ejected_by == EjectedBy::Clients)
            .filter_map(|(index, health)| health.unhealthy_since.map(|since| (since, index)))
            .collect();
        by_clients.sort_unstable();
        let ejectable = (pool.iter().filter(serving).count() / 2).max(1);
        let mut admitted = Admitted::healthy(pool);
        for (_, index) in by_clients.into_iter().skip(ejectable) {
            admitted.insert(index);
        }
        admitted
    }

    fn uses_the_healthy(&self, counts: &HealthCounts) -> bool {
        counts.healthy > 0 && counts.by_clients <= (counts.serving / 2).max(1)
    }
}

//! Observer of one pool, whatever layers it has.

use std::sync::Arc;

use tokio::time::Instant;
use wsplice::{
    Observer,
    discovery::DiscoverError,
    health::{HealthEvent, HealthEventKind, HealthTransition},
    observe::{MembershipChange, QueueWait, UpstreamInfo},
};

use crate::series::Series;

/// Observer of a pool's own events, which its layers have in common.
#[derive(Debug)]
pub(crate) struct PoolObserver {
    series: Arc<Series>,
}

impl PoolObserver {
    pub(crate) const fn new(series: Arc<Series>) -> Self {
        Self { series }
    }
}

impl Observer for PoolObserver {
    fn handshake_queued(&self, wait: &QueueWait<'_>) {
        let outcome = match wait.rejected {
            None => "admitted",
            Some(_) => "rejected",
        };
        let histogram = &self.series.set.queue_wait;
        histogram.observe(self.series.of_pool([outcome]), wait.waited);
    }

    fn health_changed(&self, upstream: &UpstreamInfo<'_>, transition: &HealthTransition) {
        if let HealthTransition::Unhealthy { .. } = transition {
            let key = self.series.of_upstream(Some(upstream.name), []);
            self.series.set.ejections.inc(key);
        }
    }

    fn probe_finished(&self, upstream: &UpstreamInfo<'_>, result: &HealthEvent) {
        let set = &self.series.set;
        let slug = match &result.kind {
            HealthEventKind::ProbePassed { latency } => {
                set.probe_duration
                    .observe(self.series.of_pool([]), *latency);
                "passed"
            }
            HealthEventKind::ProbeFailed { reason } => reason.as_str(),
            _ => return,
        };
        set.probes
            .inc(self.series.of_upstream(Some(upstream.name), [slug]));
    }

    fn upstream_changed(&self, upstream: &UpstreamInfo<'_>, change: MembershipChange) {
        let now = Instant::now();
        self.series.change_membership(upstream.name, change, now);
        // Without scrapes, the series of all upstreams that were ever in the pool would stay.
        self.series.forget_departed(now);
    }

    fn discovery_failed(&self, _pool: Option<&str>, error: &DiscoverError) {
        let key = self.series.of_pool([error.as_str()]);
        self.series.set.discovery_failures.inc(key);
    }
}

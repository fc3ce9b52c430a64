//! Pool settings.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    upstream::MemberHealth,
    upstream::admission::{Admission, QueueLimits},
    upstream::health::{
        Availability, Consecutive, Ejection, EventCounts, FailClosed, HealthPolicy, HealthTracker,
        OutlierPolicy, Passive, Probe, ProbeSchedule, ProbeTimes, Probed,
    },
    upstream::retry::RetryBudget,
};

/// Fate of the open tunnels of an upstream that is lost: removed, drained, or unhealthy.
///
/// A close order is carried out even if the upstream recovers before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnUpstreamLoss {
    /// The tunnels stay open.
    #[default]
    Leave,
    /// The tunnels are closed with 1012, spread evenly over this time; zero closes all at once.
    Close {
        /// Time from the first close to the last.
        spread: Duration,
    },
}

/// Settings of a pool, fixed when it is built.
#[derive(Clone, Debug)]
pub(super) struct PoolSettings {
    pub(super) name: Option<Arc<str>>,
    pub(super) admission: Admission,
    pub(super) queue: QueueLimits,
    pub(super) retry_budget: RetryBudget,
    pub(super) removed_tunnels: OnUpstreamLoss,
    pub(super) health: HealthSettings,
}

/// Settings of the upstreams' health.
#[derive(Clone, Debug)]
pub(super) struct HealthSettings {
    pub(super) policy: Option<Arc<dyn HealthPolicy>>,
    pub(super) outliers: Option<Arc<dyn OutlierPolicy>>,
    pub(super) ejection: Ejection,
    pub(super) availability: Option<Arc<dyn Availability>>,
    pub(super) probe: Option<Arc<dyn Probe>>,
    pub(super) schedule: ProbeSchedule,
    pub(super) slow_start: Option<Duration>,
    pub(super) unhealthy_tunnels: OnUpstreamLoss,
}

impl PoolSettings {
    pub(super) fn new() -> Self {
        Self {
            name: None,
            admission: Admission::new(),
            queue: QueueLimits::default(),
            retry_budget: RetryBudget::new(),
            removed_tunnels: OnUpstreamLoss::Leave,
            health: HealthSettings::new(),
        }
    }
}

impl HealthSettings {
    pub(super) const fn new() -> Self {
        Self {
            policy: None,
            outliers: None,
            ejection: Ejection::new(),
            availability: None,
            probe: None,
            schedule: ProbeSchedule::every(Duration::from_secs(10)),
            slow_start: None,
            unhealthy_tunnels: OnUpstreamLoss::Leave,
        }
    }

    pub(super) fn new_member_health(&self, now: Instant) -> MemberHealth {
        MemberHealth {
            tracker: self.new_tracker(now),
            probe_times: ProbeTimes::new(now),
            last_probe: None,
            due_at: None,
            event_counts: EventCounts::default(),
        }
    }

    pub(super) fn new_tracker(&self, now: Instant) -> HealthTracker {
        let (policy, probed): (Arc<dyn HealthPolicy>, _) = match (&self.policy, &self.probe) {
            (Some(policy), Some(_)) => (Arc::clone(policy), Probed::Yes),
            (Some(policy), None) => (Arc::clone(policy), Probed::No),
            (None, Some(_)) => (Arc::new(Consecutive::new()), Probed::Yes),
            (None, None) => (Arc::new(Passive::default()), Probed::No),
        };
        HealthTracker::new(policy, self.ejection.clone(), probed, now)
    }

    pub(super) fn availability(&self) -> &dyn Availability {
        self.availability.as_deref().unwrap_or(&FailClosed)
    }

    /// Whether an unhealthy upstream is better than none.
    ///
    /// This holds if only clients can detect its recovery, unless the user has set a policy for
    /// when few are left.
    pub(super) fn has_last_resort(&self) -> bool {
        self.probe.is_none() && self.availability.is_none()
    }

    /// Whether there is work while no client comes.
    pub(super) const fn wants_monitor(&self) -> bool {
        self.probe.is_some() || self.outliers.is_some()
    }
}

//! What a pool is told.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    upstream::Watch,
    upstream::admission::{Admission, QueueLimits},
    upstream::balance::{AnyBalance, LeastTunnels},
    upstream::health::{
        Availability, Consecutive, Ejection, EventCounts, FailClosed, HealthPolicy, HealthTracker,
        OutlierPolicy, Passive, Probe, ProbeSchedule, ProbeTimes, Probed,
    },
    upstream::retry::RetryBudget,
};

/// What becomes of the open tunnels of an upstream that is lost: removed, drained, or unhealthy.
///
/// A close that was ordered stands, even if the upstream comes back before it is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnUpstreamLoss {
    /// They live on.
    #[default]
    Leave,
    /// They are closed with 1012, spread evenly over this time; zero closes all at once.
    Close {
        /// From the first close to the last.
        spread: Duration,
    },
}

/// The settings of one handle of a pool.
#[derive(Clone, Debug)]
pub(super) struct PoolSettings {
    pub(super) balance: AnyBalance,
    pub(super) admission: Admission,
    pub(super) queue: QueueLimits,
    pub(super) retry_budget: RetryBudget,
    pub(super) removed_tunnels: OnUpstreamLoss,
}

/// All that concerns health; the same for every handle, as there is one health.
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
            balance: AnyBalance::new(LeastTunnels::new()),
            admission: Admission::new(),
            queue: QueueLimits::default(),
            retry_budget: RetryBudget::new(),
            removed_tunnels: OnUpstreamLoss::Leave,
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

    pub(super) fn new_watch(&self, now: Instant) -> Watch {
        Watch {
            standing: self.new_standing(now),
            times: ProbeTimes::new(now),
            last_probe: None,
            tally: EventCounts::default(),
        }
    }

    pub(super) fn new_standing(&self, now: Instant) -> HealthTracker {
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
    /// So it is where nobody but clients can find out that it is back, unless the user said what
    /// to do when few are left.
    pub(super) fn has_last_resort(&self) -> bool {
        self.probe.is_none() && self.availability.is_none()
    }

    /// Whether there is something to do while no client comes.
    pub(super) const fn wants_monitor(&self) -> bool {
        self.probe.is_some() || self.outliers.is_some()
    }
}

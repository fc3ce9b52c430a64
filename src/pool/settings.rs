//! Pool settings.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    escaped::Escaped,
    task::catch_panic,
    upstream::MemberHealth,
    upstream::admission::{Admission, QueueLimits},
    upstream::health::{
        AnyOf, Consecutive, Ejection, HealthPolicy, HealthTracker, Passive, Probed, UpstreamView,
        availability::{Availability, Standard},
        outlier::{EventCounts, OutlierPolicy},
        probe::{Probe, ProbeSchedule, ProbeTimes},
    },
    upstream::retry::RetryBudget,
};

/// Fate of the open tunnels of an upstream that is lost: removed, drained, or unhealthy; and of the
/// responses to forwarded requests that are under way.
///
/// An order to close or to move tunnels is carried out even if the upstream recovers before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnUpstreamLoss {
    /// The tunnels stay open, and responses go on.
    #[default]
    Leave,
    /// The tunnels are closed with 1012, spread evenly over this time; zero closes all at once.
    ///
    /// So are event streams (`text/event-stream`), which are broken off, and which browsers open again.
    /// Other responses are broken off at the end of this time.
    Close {
        /// Time from the first close to the last.
        spread: Duration,
    },
    /// The tunnels that have [`Reattach`](crate::tunnel::reattach::Reattach) get another upstream, spread evenly over
    /// this time, while their clients' connections live on. The handshake with the next upstream is
    /// made first, so that a tunnel keeps its upstream until another one has accepted it. Tunnels
    /// that cannot be moved are closed, and responses broken off, as with [`Close`](Self::Close).
    Move {
        /// Time from the first move to the last.
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
    /// Policy for clients' news, beside that for probes.
    pub(super) passive: Option<Arc<dyn HealthPolicy>>,
    /// Number of clients that may try a half-open upstream at once.
    pub(super) half_open_limit: usize,
    pub(super) until_probed: UntilProbed,
    pub(super) effect: HealthEffect,
    pub(super) outliers: Option<Arc<dyn OutlierPolicy>>,
    pub(super) ejection: Ejection,
    pub(super) availability: Option<Arc<dyn Availability>>,
    pub(super) probe: Option<Arc<dyn Probe>>,
    pub(super) schedule: ProbeSchedule,
    pub(super) slow_start: Option<Duration>,
    pub(super) unhealthy_tunnels: OnUpstreamLoss,
}

/// Health of an upstream before its first probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UntilProbed {
    Healthy,
    Unhealthy,
}

/// Effect of a verdict that an upstream is unhealthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HealthEffect {
    /// The upstream gets no clients.
    Eject,
    /// The verdict is reported, and the upstream is used.
    ReportOnly,
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
            passive: None,
            half_open_limit: 1,
            until_probed: UntilProbed::Healthy,
            effect: HealthEffect::Eject,
            outliers: None,
            ejection: Ejection::new(),
            availability: None,
            probe: None,
            schedule: ProbeSchedule::every(Duration::from_secs(10)),
            slow_start: None,
            unhealthy_tunnels: OnUpstreamLoss::Leave,
        }
    }

    pub(super) fn new_member_health(
        &self,
        upstream: &UpstreamView<'_>,
        now: Instant,
    ) -> MemberHealth {
        MemberHealth {
            tracker: self.new_tracker(upstream, now),
            probe_times: ProbeTimes::new(now),
            last_probe: None,
            due_at: None,
            event_counts: EventCounts::default(),
            counted: None,
        }
    }

    /// Creates the tracker of an upstream, by the default policies if those of the host panic.
    fn new_tracker(&self, upstream: &UpstreamView<'_>, now: Instant) -> HealthTracker {
        let by = |policy| {
            let probed = match self.probe {
                Some(_) => Probed::Yes,
                None => Probed::No,
            };
            HealthTracker::new(policy, self.ejection.clone(), probed, now)
        };
        let of_host = catch_panic(|| {
            let policy = self.health_policy();
            by(policy.for_upstream(upstream).unwrap_or(policy))
        });
        let tracker = of_host.unwrap_or_else(|_| {
            tracing::error!(
                upstream = %Escaped(upstream.name()),
                "a health policy panicked; the default is used"
            );
            let default = Self {
                policy: None,
                passive: None,
                ..self.clone()
            };
            by(default.health_policy())
        });
        match self.until_probed {
            UntilProbed::Healthy => tracker,
            UntilProbed::Unhealthy => tracker.until_first_pass(now),
        }
    }

    /// Returns the policy for all upstreams.
    fn health_policy(&self) -> Arc<dyn HealthPolicy> {
        let passive = || match &self.passive {
            Some(passive) => Arc::clone(passive),
            None => Arc::new(Passive::default()),
        };
        match (&self.policy, &self.probe) {
            (policy, Some(_)) => {
                let probes = policy
                    .clone()
                    .unwrap_or_else(|| Arc::new(Consecutive::new()));
                Arc::new(AnyOf::new().with(probes).with(passive()))
            }
            (Some(policy), None) => Arc::clone(policy),
            (None, None) => passive(),
        }
    }

    pub(super) fn availability(&self) -> &dyn Availability {
        self.availability.as_deref().unwrap_or(&Standard)
    }

    /// Whether an unhealthy upstream is better than none: unless the user has set a policy for when
    /// few are left.
    pub(super) fn has_last_resort(&self) -> bool {
        self.availability.is_none()
    }

    /// Whether there is work while no client comes.
    pub(super) const fn wants_monitor(&self) -> bool {
        self.probe.is_some() || self.outliers.is_some()
    }
}

//! Builder of a pool: the settings that all its routes share.

use std::{sync::Arc, time::Duration};

use crate::{
    upstream::Upstream,
    upstream::admission::{Admission, QueueLimits},
    upstream::balance::{AnyBalance, Balance, LeastTunnels},
    upstream::health::{
        Ejection, HealthPolicy,
        availability::Availability,
        outlier::OutlierPolicy,
        probe::{Probe, ProbeSchedule},
    },
    upstream::retry::RetryBudget,
};

use super::settings::{HealthEffect, HealthSettings, OnUpstreamLoss, PoolSettings, UntilProbed};

/// Builder of a [`Pool`](crate::Pool): its upstreams and its settings.
///
/// [`build`](Self::build) creates the pool; [`ProxyLayer::new`](crate::ProxyLayer::new) takes the
/// builder too, for a pool that only one layer uses. The settings of a pool are fixed once it is
/// built, and hold for all layers that share it. Its upstreams can be changed at any time.
///
/// # Defaults
///
/// | method | default | unit | why |
/// |---|---|---|---|
/// | [`name`](Self::name) | none | | needed only to tell several pools apart |
/// | [`balance`](Self::balance) | [`LeastTunnels`] | | a tunnel counts for its whole life |
/// | [`admission`](Self::admission) | no limits | | |
/// | [`queue`](Self::queue) | none | waiters, time | a handshake beyond a limit gets 503 at once |
/// | [`retry_budget`](Self::retry_budget) | 0.2, and 10 a second | retries | see [`RetryBudget`] |
/// | [`removed_tunnels`](Self::removed_tunnels), [`unhealthy_tunnels`](Self::unhealthy_tunnels) | [`OnUpstreamLoss::Leave`] | | a working tunnel is worth keeping |
/// | [`probe`](Self::probe) | none | | the path of a health endpoint is unknown |
/// | [`probe_schedule`](Self::probe_schedule) | 10 | seconds | see [`ProbeSchedule`] |
/// | [`health_policy`](Self::health_policy) | [`Consecutive`](crate::health::Consecutive) with a probe, else [`Passive`](crate::health::Passive) | | |
/// | [`outliers`](Self::outliers) | none | | small pools have no meaningful mean |
/// | [`ejection`](Self::ejection) | 10 to 300 | seconds | see [`Ejection`] |
/// | [`passive_policy`](Self::passive_policy) | [`Passive`](crate::health::Passive) | | a probe that passes is no proof for clients |
/// | [`half_open_limit`](Self::half_open_limit) | 1 | clients | more would hang on an upstream that hangs |
/// | [`availability`](Self::availability) | [`Standard`](crate::health::availability::Standard) | | a doubtful upstream is better than none |
/// | [`slow_start`](Self::slow_start) | off | | |
///
/// # Examples
///
/// ```
/// use wsplice::{Admission, Pool, ProxyLayer, balance::Rendezvous, matcher::path};
///
/// let chat = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?
///     .admission(Admission::new().max_tunnels(10_000))
///     .build();
///
/// // Two routes with one limit, and one health of each upstream.
/// let lobby = ProxyLayer::new(chat.clone()).matching(path("/lobby"));
/// let rooms = ProxyLayer::new(chat.clone())
///     .matching(path("/rooms/*"))
///     .balance(Rendezvous::by_query("room"));
/// # let _ = (lobby, rooms);
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until the pool is built"]
pub struct PoolBuilder {
    pub(super) upstreams: Vec<Upstream>,
    pub(super) balance: AnyBalance,
    pub(super) settings: PoolSettings,
}

impl PoolBuilder {
    pub(super) fn new(upstreams: Vec<Upstream>) -> Self {
        Self {
            upstreams,
            balance: AnyBalance::new(LeastTunnels::new()),
            settings: PoolSettings::new(),
        }
    }

    /// Sets the name of the pool, for logs, metrics and observers.
    pub fn name(self, name: impl Into<Arc<str>>) -> Self {
        self.set(|settings| settings.name = Some(name.into()))
    }

    /// Sets the load-balancing policy, which picks an upstream for each handshake; see
    /// [`balance`](crate::balance#policies). A layer may have a policy of its own; see
    /// [`ProxyLayer::balance`](crate::ProxyLayer::balance).
    pub fn balance(self, balance: impl Balance + 'static) -> Self {
        Self {
            balance: AnyBalance::new(balance),
            ..self
        }
    }

    /// Limits tunnels and handshakes over all upstreams together.
    pub fn admission(self, admission: Admission) -> Self {
        self.set(|settings| settings.admission = admission)
    }

    /// Sets a queue for this many handshakes, each of which waits at most this long for a limit on
    /// tunnels or handshakes. Without a queue, the default, such a handshake gets 503 at once.
    ///
    /// The queue is FIFO, except for waiters that cannot use the free upstream.
    pub fn queue(self, max_waiters: usize, max_wait: Duration) -> Self {
        self.set(|settings| {
            settings.queue = QueueLimits {
                max_waiters,
                max_wait,
            }
        })
    }

    /// Limits the retries of all requests together; see [`RetryBudget`].
    pub fn retry_budget(self, budget: RetryBudget) -> Self {
        self.set(|settings| settings.retry_budget = budget)
    }

    /// Sets the fate of the open tunnels of an upstream that is removed.
    pub fn removed_tunnels(self, choice: OnUpstreamLoss) -> Self {
        self.set(|settings| settings.removed_tunnels = choice)
    }

    /// Sets the fate of the open tunnels of an upstream that becomes unhealthy and is no longer
    /// used. An upstream that is used nevertheless, by [`availability`](Self::availability), keeps
    /// them until it is not, which may be when another one recovers and takes its place.
    pub fn unhealthy_tunnels(self, choice: OnUpstreamLoss) -> Self {
        self.set_health(|health| health.unhealthy_tunnels = choice)
    }

    /// Probes every upstream, at first immediately; see [`health`](crate::health). Without a probe,
    /// the default, health follows from clients' handshakes.
    ///
    /// Probing begins with the first request, or when the layer is applied inside a runtime, and
    /// ends with the pool's last handle. Probes use the connector and TLS settings of the layer,
    /// like clients' connections; if several layers share the pool, of the layer that was applied
    /// last.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use wsplice::{Pool, health::{Consecutive, probe::{ProbeSchedule, WebSocketProbe}}};
    ///
    /// let chat = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?
    ///     .probe(WebSocketProbe::get("/ws/health"))
    ///     .probe_schedule(ProbeSchedule::every(Duration::from_secs(5)))
    ///     .health_policy(Consecutive::new().fails(3).passes(2));
    /// # let _ = chat;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn probe(self, probe: impl Probe + 'static) -> Self {
        self.set_health(|health| health.probe = Some(Arc::new(probe)))
    }

    /// Sets the probe schedule; every 10 s by default.
    pub fn probe_schedule(self, schedule: ProbeSchedule) -> Self {
        self.set_health(|health| health.schedule = schedule)
    }

    /// Sets the policy that decides about the upstreams' health: by their probes, or without a probe
    /// by the news of clients. The default is
    /// [`Consecutive`](crate::health::Consecutive) with a probe, and
    /// [`Passive`](crate::health::Passive) without.
    pub fn health_policy(self, policy: impl HealthPolicy + 'static) -> Self {
        self.set_health(|health| health.policy = Some(Arc::new(policy)))
    }

    /// Sets the policy for the news of clients, beside [`health_policy`](Self::health_policy) for
    /// probes: either of them can find an upstream unhealthy. It is used only with a
    /// [probe](Self::probe), as the health policy gets clients' news without one. The default is
    /// [`Passive`](crate::health::Passive); [`AnyOf::new()`](crate::health::AnyOf::new) has no
    /// condition, and so turns it off.
    pub fn passive_policy(self, policy: impl HealthPolicy + 'static) -> Self {
        self.set_health(|health| health.passive = Some(Arc::new(policy)))
    }

    /// Sets the number of clients that may try a half-open upstream at once; 1 by default, and at
    /// least 1. The others go elsewhere, unless there is no other upstream.
    pub fn half_open_limit(self, clients: usize) -> Self {
        self.set_health(|health| health.half_open_limit = clients.max(1))
    }

    /// Keeps an upstream unhealthy from the time that it joins the pool to its first passed
    /// [probe](Self::probe); by default it is healthy until events show otherwise. Has no effect
    /// without a probe.
    pub fn unhealthy_until_probed(self) -> Self {
        self.set_health(|health| health.until_probed = UntilProbed::Unhealthy)
    }

    /// Only reports which upstreams are unhealthy, to observers, logs and
    /// [`Pool::snapshot`](crate::Pool::snapshot), and uses them nevertheless: a dry run of new
    /// policies.
    pub fn report_health_only(self) -> Self {
        self.set_health(|health| health.effect = HealthEffect::ReportOnly)
    }

    /// Ejects outliers: upstreams that do worse than the others, whatever their own health policy
    /// finds; off by default.
    ///
    /// They return after their [`ejection`](Self::ejection). An upstream that
    /// [`availability`](Self::availability) would use nevertheless is not ejected, nor is the last
    /// healthy one.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Pool, health::{availability::MaxEjectionPercent, outlier::SuccessRateOutliers}};
    ///
    /// let chat = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080", "ws://10.0.0.3:8080"])?
    ///     .outliers(SuccessRateOutliers::new().minimum_upstreams(3).deviations(1.0))
    ///     .availability(MaxEjectionPercent::percent(30));
    /// # let _ = chat;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn outliers(self, policy: impl OutlierPolicy + 'static) -> Self {
        self.set_health(|health| health.outliers = Some(Arc::new(policy)))
    }

    /// Sets the ejection time of upstreams whose recovery only clients can detect.
    pub fn ejection(self, ejection: Ejection) -> Self {
        self.set_health(|health| health.ejection = ejection)
    }

    /// Sets the policy for when few healthy upstreams are left.
    ///
    /// By default, [`Standard`](crate::health::availability::Standard) limits ejections on clients' news to half of
    /// the upstreams, and uses all once none is healthy; and a request that has failed at all healthy
    /// upstreams tries an unhealthy one. With a policy of your own, that last resort is left out.
    pub fn availability(self, availability: impl Availability + 'static) -> Self {
        self.set_health(|health| health.availability = Some(Arc::new(availability)))
    }

    /// Gives an upstream that has recovered, or that joins others, a growing share of the new
    /// tunnels over this time, in policies that use it; off by default.
    pub fn slow_start(self, takes: Duration) -> Self {
        self.set_health(|health| health.slow_start = Some(takes))
    }

    fn set(mut self, change: impl FnOnce(&mut PoolSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    fn set_health(self, change: impl FnOnce(&mut HealthSettings)) -> Self {
        self.set(|settings| change(&mut settings.health))
    }
}

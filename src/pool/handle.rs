//! Pool handle: settings, and edits while the pool is in use.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::{
    http::head::RequestHead,
    http::headers::ClientScheme,
    net::connect::InvalidAddress,
    observe::Observer,
    tunnel::registry::Revocable,
    upstream::Upstream,
    upstream::admission::{Admission, QueueLimits},
    upstream::balance::{AnyBalance, Balance, Candidate},
    upstream::health::{Availability, Ejection, HealthPolicy, OutlierPolicy, Probe, ProbeSchedule},
    upstream::retry::RetryBudget,
};

use super::{
    lease::Lease,
    settings::{HealthSettings, OnUpstreamLoss, PoolSettings},
    state::PoolState,
};

/// Pool of upstreams of a route. Cheap to clone; all clones share upstreams and tunnels.
///
/// Balancing, admission, queue and retry budget are settings of the handle on which they are made,
/// and of its later clones: two routes can share upstreams and differ in these. The settings of
/// health belong to the pool, whichever handle they are made on, as an upstream has one health.
///
/// # Defaults
///
/// | method | default | unit | why |
/// |---|---|---|---|
/// | [`balance`](Self::balance) | [`LeastTunnels`](crate::balance::LeastTunnels) | | a tunnel counts for its whole life |
/// | [`admission`](Self::admission) | no limits | | |
/// | [`queue`](Self::queue) | none | waiters, time | a handshake beyond a limit gets 503 at once |
/// | [`retry_budget`](Self::retry_budget) | 0.2, and 10 a second | retries | see [`RetryBudget`] |
/// | [`removed_tunnels`](Self::removed_tunnels), [`unhealthy_tunnels`](Self::unhealthy_tunnels) | [`OnUpstreamLoss::Leave`] | | a working tunnel is worth keeping |
/// | [`probe`](Self::probe) | none | | the path of a health endpoint is unknown |
/// | [`probe_schedule`](Self::probe_schedule) | 10 | seconds | see [`ProbeSchedule`] |
/// | [`health_policy`](Self::health_policy) | [`Consecutive`](crate::health::Consecutive) with a probe, else [`Passive`](crate::health::Passive) | | |
/// | [`outliers`](Self::outliers) | none | | small pools have no meaningful mean |
/// | [`ejection`](Self::ejection) | 10 to 300 | seconds | see [`Ejection`] |
/// | [`availability`](Self::availability) | healthy upstreams only | | see there for pools without a probe |
/// | [`slow_start`](Self::slow_start) | off | | |
///
/// # Examples
///
/// ```
/// use wsplice::{Pool, Upstream};
///
/// let pool = Pool::new(["ws://10.0.0.1:8080", "unix:/run/chat.sock"])?;
/// assert_eq!(pool.len(), 2);
///
/// // Upstreams come and go while it runs.
/// assert!(pool.add(Upstream::new("ws://10.0.0.2:8080")?));
/// assert!(pool.remove("10.0.0.1:8080"));
/// assert_eq!(pool.len(), 2);
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pool {
    pub(super) state: Arc<PoolState>,
    pub(super) settings: Arc<PoolSettings>,
}

impl Pool {
    /// Creates a pool of these addresses, with the defaults above.
    ///
    /// # Errors
    ///
    /// An address cannot be parsed; see [`Upstream::new`].
    pub fn new<I>(addresses: I) -> Result<Self, InvalidAddress>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let upstreams: Result<Vec<_>, _> = addresses
            .into_iter()
            .map(|address| Upstream::new(address.as_ref()))
            .collect();
        upstreams.map(Self::from_upstreams)
    }

    /// Creates a pool of these upstreams, with the defaults above. Of several at the same address
    /// the first counts.
    #[must_use]
    pub fn from_upstreams(upstreams: impl IntoIterator<Item = Upstream>) -> Self {
        let now = Instant::now();
        let state = PoolState::new(now);
        state.fill(upstreams.into_iter().collect(), now);
        Self {
            state: Arc::new(state),
            settings: Arc::new(PoolSettings::new()),
        }
    }

    /// Sets the load-balancing policy, which picks an upstream for each handshake; see
    /// [`balance`](crate::balance#policies).
    #[must_use]
    pub fn balance(self, balance: impl Balance + 'static) -> Self {
        self.with(|settings| settings.balance = AnyBalance::new(balance))
    }

    /// Limits tunnels and handshakes over all upstreams together.
    #[must_use]
    pub fn admission(self, admission: Admission) -> Self {
        self.with(|settings| settings.admission = admission)
    }

    /// Sets a queue for this many handshakes, each of which waits at most this long for a limit on
    /// tunnels or handshakes. Without a queue, the default, such a handshake gets 503 at once.
    ///
    /// The queue is FIFO, except for waiters that cannot use the free upstream.
    #[must_use]
    pub fn queue(self, max_waiters: usize, max_wait: Duration) -> Self {
        self.with(|settings| {
            settings.queue = QueueLimits {
                max_waiters,
                max_wait,
            }
        })
    }

    /// Limits the retries of all requests together; see [`RetryBudget`].
    #[must_use]
    pub fn retry_budget(self, budget: RetryBudget) -> Self {
        self.with(|settings| settings.retry_budget = budget)
    }

    /// Sets the fate of the open tunnels of an upstream that is removed.
    #[must_use]
    pub fn removed_tunnels(self, choice: OnUpstreamLoss) -> Self {
        self.with(|settings| settings.removed_tunnels = choice)
    }

    /// Sets the fate of the open tunnels of an upstream that becomes unhealthy and is no longer
    /// used. An upstream that is used nevertheless, by [`availability`](Self::availability), keeps
    /// them.
    #[must_use]
    pub fn unhealthy_tunnels(self, choice: OnUpstreamLoss) -> Self {
        self.with_health_settings(|settings| settings.unhealthy_tunnels = choice)
    }

    /// Probes every upstream, at first immediately; see [`health`](crate::health). Without a probe,
    /// the default, health follows from clients' handshakes.
    ///
    /// Probing begins with the first request, or when the layer is applied inside a runtime, and
    /// ends with the pool's last handle. Probes use the connector and TLS settings of the layer,
    /// like clients' connections; if several layers share the pool, of the layer that was applied
    /// last.
    ///
    /// Setting a probe on a pool in use resets the health of all upstreams, and so do
    /// [`health_policy`](Self::health_policy) and [`ejection`](Self::ejection).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use wsplice::{Pool, health::{Consecutive, ProbeSchedule, WebSocketProbe}};
    ///
    /// let chat = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?
    ///     .probe(WebSocketProbe::get("/ws/health"))
    ///     .probe_schedule(ProbeSchedule::every(Duration::from_secs(5)))
    ///     .health_policy(Consecutive::new().fails(3).passes(2));
    /// # let _ = chat;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    #[must_use]
    pub fn probe(self, probe: impl Probe + 'static) -> Self {
        self.reset_health(|settings| settings.probe = Some(Arc::new(probe)))
    }

    /// Sets the probe schedule; every 10 s by default.
    #[must_use]
    pub fn probe_schedule(self, schedule: ProbeSchedule) -> Self {
        self.with_health_settings(|settings| settings.schedule = schedule)
    }

    /// Sets the policy that decides about the upstreams' health. The default is
    /// [`Consecutive`](crate::health::Consecutive) with a probe, and
    /// [`Passive`](crate::health::Passive) without.
    #[must_use]
    pub fn health_policy(self, policy: impl HealthPolicy + 'static) -> Self {
        self.reset_health(|settings| settings.policy = Some(Arc::new(policy)))
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
    /// use wsplice::{Pool, health::{MaxEjectionPercent, SuccessRateOutliers}};
    ///
    /// let chat = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080", "ws://10.0.0.3:8080"])?
    ///     .outliers(SuccessRateOutliers::new().minimum_upstreams(3).deviations(1.0))
    ///     .availability(MaxEjectionPercent::percent(30));
    /// # let _ = chat;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    #[must_use]
    pub fn outliers(self, policy: impl OutlierPolicy + 'static) -> Self {
        self.with_health_settings(|settings| settings.outliers = Some(Arc::new(policy)))
    }

    /// Sets the ejection time of upstreams whose recovery only clients can detect.
    #[must_use]
    pub fn ejection(self, ejection: Ejection) -> Self {
        self.reset_health(|settings| settings.ejection = ejection)
    }

    /// Sets the policy for when few healthy upstreams are left.
    ///
    /// By default, a pool with a probe uses healthy upstreams only
    /// ([`FailClosed`](crate::health::FailClosed)); a pool without one tries an unhealthy upstream
    /// before it fails a client, since only a client can detect a recovery.
    #[must_use]
    pub fn availability(self, availability: impl Availability + 'static) -> Self {
        self.with_health_settings(|settings| settings.availability = Some(Arc::new(availability)))
    }

    /// Gives an upstream that has recovered, or that joins others, a growing share of the new
    /// tunnels over this time, in policies that use it; off by default.
    #[must_use]
    pub fn slow_start(self, takes: Duration) -> Self {
        self.with_health_settings(|settings| settings.slow_start = Some(takes))
    }

    /// Adds an upstream, or changes the settings of the one at that address. False if nothing
    /// changes.
    pub fn add(&self, upstream: Upstream) -> bool {
        self.edit(|mut upstreams| {
            match upstreams
                .iter_mut()
                .find(|known| known.address() == upstream.address())
            {
                Some(known) => *known = upstream,
                None => upstreams.push(upstream),
            }
            upstreams
        })
    }

    /// Removes the upstream of this name, which gets no new tunnels. False if there is none.
    ///
    /// Its state is kept for ten minutes, in case it is added again.
    pub fn remove(&self, name: &str) -> bool {
        self.edit(|mut upstreams| {
            upstreams.retain(|upstream| upstream.name() != name);
            upstreams
        })
    }

    /// Replaces the pool's upstreams. False if nothing changes, neither a setting nor the order.
    pub fn replace(&self, upstreams: impl IntoIterator<Item = Upstream>) -> bool {
        // Before the lock, as this is the caller's code.
        let upstreams = upstreams.into_iter().collect();
        self.edit(|_| upstreams)
    }

    /// Returns the number of upstreams.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.member_set().members().len()
    }

    /// Whether the pool has no upstreams.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) const fn from_parts(state: Arc<PoolState>, settings: Arc<PoolSettings>) -> Self {
        Self { state, settings }
    }

    fn with(mut self, change: impl FnOnce(&mut PoolSettings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }

    fn with_health_settings(self, change: impl FnOnce(&mut HealthSettings)) -> Self {
        self.state.set_health_settings(change, Instant::now());
        self
    }

    fn reset_health(self, change: impl FnOnce(&mut HealthSettings)) -> Self {
        self.state.reset_health(change, Instant::now());
        self
    }

    /// Reports changes of upstreams to this observer, for as long as it lives.
    pub(crate) fn attach_observer(&self, observer: &Arc<dyn Observer>) {
        self.state.attach_observer(observer);
    }

    /// Returns the header that the policy adds to the response of the picked upstream.
    pub(crate) fn response_header(
        &self,
        picked: &Lease,
        head: &RequestHead<'_>,
        scheme: ClientScheme,
    ) -> Option<(HeaderName, HeaderValue)> {
        let picked = Candidate::new(picked.member(), Instant::now());
        self.settings.balance.response_header(&picked, head, scheme)
    }

    fn edit(&self, change: impl FnOnce(Vec<Upstream>) -> Vec<Upstream>) -> bool {
        let Some(removed) = self.state.edit(change, Instant::now()) else {
            return false;
        };
        let choice = self.settings.removed_tunnels;
        for member in removed {
            let reason = "upstream removed";
            self.state
                .close_tunnels(&member, choice, reason, Revocable::Never);
        }
        true
    }
}

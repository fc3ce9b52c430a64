//! The pool as its users hold it.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::{
    http::head::RequestHead,
    http::headers::ClientScheme,
    net::connect::InvalidAddress,
    observe::Observer,
    tunnel::registry::Registry,
    upstream::Upstream,
    upstream::admission::{Admission, QueueLimits},
    upstream::balance::{AnyBalance, Balance, Candidate},
    upstream::health::{Availability, Ejection, HealthPolicy, OutlierPolicy, Probe, ProbeSchedule},
    upstream::retry::RetryBudget,
};

use super::{
    lease::Lease,
    settings::{HealthSettings, OnUpstreamLoss, PoolSettings},
    state::State,
};

/// The upstreams of a route. Cheap to clone; every clone has the same upstreams and tunnels.
///
/// How an upstream is picked and how many handshakes may come in are settings of the handle that
/// they are made on, and of its later clones: two routes can share upstreams and differ in that.
/// All that concerns health is the pool's, whichever handle it is set on, as there is one health.
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
    pub(super) state: Arc<State>,
    pub(super) settings: Arc<PoolSettings>,
}

impl Pool {
    /// A pool of these addresses, picked by [`LeastTunnels`](crate::balance::LeastTunnels).
    ///
    /// # Errors
    ///
    /// When an address cannot be read; see [`Upstream::new`].
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

    /// A pool of these upstreams, picked by [`LeastTunnels`](crate::balance::LeastTunnels). Of several at the same address the first counts.
    #[must_use]
    pub fn from_upstreams(upstreams: impl IntoIterator<Item = Upstream>) -> Self {
        let now = Instant::now();
        let state = State::new(now);
        state.fill(upstreams.into_iter().collect(), now);
        Self {
            state: Arc::new(state),
            settings: Arc::new(PoolSettings::new()),
        }
    }

    /// Sets the policy that picks an upstream for each handshake; see
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

    /// Lets this many handshakes wait, each for at most this long, when a limit on tunnels or
    /// handshakes stands against them. Without a queue, the default, they are answered 503 at once.
    ///
    /// First come, first served: nobody overtakes, unless those ahead wait for upstreams that
    /// are none of his.
    #[must_use]
    pub fn queue(self, places: usize, wait: Duration) -> Self {
        self.with(|settings| settings.queue = QueueLimits { places, wait })
    }

    /// Holds down the retries of all requests together; see [`RetryBudget`].
    #[must_use]
    pub fn retry_budget(self, budget: RetryBudget) -> Self {
        self.with(|settings| settings.retry_budget = budget)
    }

    /// Says what becomes of the open tunnels of an upstream that is removed.
    #[must_use]
    pub fn removed_tunnels(self, choice: OnUpstreamLoss) -> Self {
        self.with(|settings| settings.removed_tunnels = choice)
    }

    /// Says what becomes of the open tunnels of an upstream that becomes unhealthy and is used no
    /// more. One that is used nevertheless, by [`availability`](Self::availability), keeps them.
    #[must_use]
    pub fn unhealthy_tunnels(self, choice: OnUpstreamLoss) -> Self {
        self.with_health(|health| health.unhealthy_tunnels = choice)
    }

    /// Probes every upstream, the first time at once; see [`health`](crate::health). Without a
    /// probe, the default, health is what clients' handshakes tell.
    ///
    /// Probing begins with the first request, or when the layer is applied inside a runtime, and
    /// ends with the last handle of the pool. The probes go out as clients' connections do, by the
    /// connector and TLS settings of the layer; where several layers share the pool, by those of
    /// the one that was applied last.
    ///
    /// Set on a pool that is in use, it begins everybody's health anew, and so do
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
        self.renew_health(|health| health.probe = Some(Arc::new(probe)))
    }

    /// Sets how often probes are made; every 10 s unless set.
    #[must_use]
    pub fn probe_schedule(self, schedule: ProbeSchedule) -> Self {
        self.with_health(|health| health.schedule = schedule)
    }

    /// Sets the policy that judges the upstreams' health. Unless set it is
    /// [`Consecutive`](crate::health::Consecutive) where there is a probe, and else
    /// [`Passive`](crate::health::Passive).
    #[must_use]
    pub fn health_policy(self, policy: impl HealthPolicy + 'static) -> Self {
        self.renew_health(|health| health.policy = Some(Arc::new(policy)))
    }

    /// Ejects upstreams that do worse than the others, whatever they are taken for by themselves;
    /// off by default.
    ///
    /// They come back as their [`ejection`](Self::ejection) says. None is ejected that
    /// [`availability`](Self::availability) would use nevertheless, nor the last healthy one.
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
        self.with_health(|health| health.outliers = Some(Arc::new(policy)))
    }

    /// Sets for how long an upstream is left out whose health nobody but clients can tell.
    #[must_use]
    pub fn ejection(self, ejection: Ejection) -> Self {
        self.renew_health(|health| health.ejection = ejection)
    }

    /// Sets the policy for when few healthy upstreams are left.
    ///
    /// Unless set, a pool that is probed uses none but healthy ones
    /// ([`FailClosed`](crate::health::FailClosed)); one that is not probed tries an unhealthy one
    /// before it fails a client, since there is no other way to find out that it is back.
    #[must_use]
    pub fn availability(self, availability: impl Availability + 'static) -> Self {
        self.with_health(|health| health.availability = Some(Arc::new(availability)))
    }

    /// Gives an upstream that has come back, or that joins others, a growing share of the new
    /// tunnels over this time, in policies that look at it; off by default.
    #[must_use]
    pub fn slow_start(self, takes: Duration) -> Self {
        self.with_health(|health| health.slow_start = Some(takes))
    }

    /// Adds an upstream, or changes the settings of the one at that address. False if that
    /// changes nothing.
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

    /// Removes the upstream of this name: it gets no new tunnels. False if there is none.
    ///
    /// Its figures are remembered for ten minutes, in case it is added again.
    pub fn remove(&self, name: &str) -> bool {
        self.edit(|mut upstreams| {
            upstreams.retain(|upstream| upstream.name() != name);
            upstreams
        })
    }

    /// Makes these the pool's upstreams. False if they are already, to the last setting and in
    /// this order: then nothing happens.
    pub fn replace(&self, upstreams: impl IntoIterator<Item = Upstream>) -> bool {
        // Before the lock, as this is the caller's code.
        let upstreams = upstreams.into_iter().collect();
        self.edit(|_| upstreams)
    }

    /// How many upstreams there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.roster().members().len()
    }

    /// Whether there is no upstream at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) const fn from_parts(state: Arc<State>, settings: Arc<PoolSettings>) -> Self {
        Self { state, settings }
    }

    fn with(mut self, change: impl FnOnce(&mut PoolSettings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }

    fn with_health(self, change: impl FnOnce(&mut HealthSettings)) -> Self {
        self.state.set_health(change, Instant::now());
        self
    }

    fn renew_health(self, change: impl FnOnce(&mut HealthSettings)) -> Self {
        self.state.renew_health(change, Instant::now());
        self
    }

    /// Shows an observer the changes of upstreams, for as long as there is one.
    pub(crate) fn attach_observer(&self, observer: &Arc<dyn Observer>) {
        self.state.attach_observer(observer);
    }

    /// Lists the pool's tunnels in this registry, so that the pool can close them.
    pub(crate) fn attach(&self, registry: &Registry) {
        self.state.attach(registry);
    }

    /// What the policy adds to the answer of the upstream that was picked.
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
            self.state.lose_tunnels(&member, choice, reason);
        }
        true
    }
}

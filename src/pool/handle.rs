//! Pool handle: edits while the pool is in use.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::{
    http::head::RequestHead,
    http::headers::ClientScheme,
    net::connect::{Address, Dialer, InvalidAddress},
    observe::{Observer, ObserverHandle},
    task::catch_panic,
    upstream::Upstream,
    upstream::admission::{Admission, QueueLimits},
    upstream::balance::{AnyBalance, Balance, Candidate},
    upstream::discovery::Discover,
    upstream::retry::Cost,
};

use super::{
    builder::PoolBuilder,
    discovery::{self, DiscoveryHandle},
    granted_retry::GrantedRetry,
    lease::Lease,
    member_set::unless_same_set,
    monitor::ensure_monitor,
    route_gate::RouteGate,
    state::PoolState,
};

/// Pool of upstreams. Cheap to clone; all clones are the same pool.
///
/// [`Pool::new`] returns a [`PoolBuilder`] for its settings. Several layers may share a pool: its
/// limits, its queue, its retry budget and the health of its upstreams are then those of all layers
/// together.
///
/// # Examples
///
/// ```
/// use wsplice::{Pool, Upstream};
///
/// let pool = Pool::new(["ws://10.0.0.1:8080", "unix:/run/chat.sock"])?.build();
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
    /// Policy of the route that uses this handle.
    pub(super) balance: AnyBalance,
    /// Limits of the route that uses this handle, beside those of the pool.
    pub(super) gate: Option<Arc<RouteGate>>,
}

impl PoolBuilder {
    /// Creates the pool.
    #[must_use]
    pub fn build(self) -> Pool {
        let now = Instant::now();
        let state = PoolState::new(self.settings, now);
        state.fill(self.upstreams, now);
        Pool {
            state: Arc::new(state),
            balance: self.balance,
            gate: None,
        }
    }
}

impl From<PoolBuilder> for Pool {
    fn from(builder: PoolBuilder) -> Self {
        builder.build()
    }
}

impl Pool {
    /// Returns a builder of a pool of these addresses.
    ///
    /// # Errors
    ///
    /// An address cannot be parsed; see [`Upstream::new`].
    #[expect(
        clippy::new_ret_no_self,
        reason = "`Pool::new(..)?.probe(..)` is how users begin"
    )]
    pub fn new<I>(addresses: I) -> Result<PoolBuilder, InvalidAddress>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let upstreams: Result<Vec<_>, _> = addresses
            .into_iter()
            .map(|address| Upstream::new(address.as_ref()))
            .collect();
        upstreams.map(PoolBuilder::new)
    }

    /// Returns a builder of a pool of these upstreams. Of several at the same address the first
    /// counts.
    pub fn from_upstreams(upstreams: impl IntoIterator<Item = Upstream>) -> PoolBuilder {
        PoolBuilder::new(upstreams.into_iter().collect())
    }

    /// Returns the [name](PoolBuilder::name) of the pool.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.state.settings().name.as_deref()
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

    /// Removes the upstream of this [name](Upstream::name), or at this address as
    /// [`Upstream::new`] takes it. It gets no new tunnels. False if there is none.
    ///
    /// Its state is kept for ten minutes, in case it is added again.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Pool, Upstream};
    ///
    /// let pool = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?.build();
    /// assert!(pool.remove("10.0.0.1:8080"));
    /// assert!(pool.remove("ws://10.0.0.2:8080"));
    /// assert!(pool.is_empty());
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn remove(&self, name_or_address: &str) -> bool {
        let at_address = Upstream::new(name_or_address).ok();
        let at_address = at_address.as_ref().map(Upstream::name);
        self.edit(|mut upstreams| {
            upstreams.retain(|upstream| {
                upstream.name() != name_or_address && Some(upstream.name()) != at_address
            });
            upstreams
        })
    }

    /// Replaces the pool's upstreams. False if nothing changes; the same upstreams in another order
    /// are no change.
    pub fn replace(&self, upstreams: impl IntoIterator<Item = Upstream>) -> bool {
        // Before the lock, as this is the caller's code.
        let upstreams = upstreams.into_iter().collect();
        self.edit(|current| unless_same_set(current, upstreams))
    }

    /// Replaces the pool's upstreams, whose order means something to the policy, as it does to
    /// [`First`](crate::balance::First). False if nothing changes, neither a setting nor the order.
    pub fn replace_in_order(&self, upstreams: impl IntoIterator<Item = Upstream>) -> bool {
        let upstreams = upstreams.into_iter().collect();
        self.edit(|_| upstreams)
    }

    /// Replaces the pool's upstreams with each set from the source, including edits by hand. See
    /// [`discovery`](crate::discovery).
    ///
    /// A set in another order than the last is no change, unless the source is
    /// [ordered](Discover::in_order). At most a hundred sets are used a second.
    ///
    /// The task ends when the [`DiscoveryHandle`] or the pool (its last clone and its last tunnel) is
    /// dropped, or when the source ends. The last set stays. A pool should follow one source at a time;
    /// [`MergeSources`](crate::discovery::MergeSources) makes one of several.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use wsplice::{Pool, Upstream, discovery::PollSource};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::from_upstreams([]).build();
    /// let follow = pool.follow(PollSource::new(Duration::from_secs(10), || async {
    ///     Ok(vec![Upstream::from_address(wsplice::connect::Address::tcp("10.0.0.1", 8080))])
    /// }));
    /// follow.ready(Duration::from_secs(5)).await?; // or clients get 503 meanwhile
    /// assert_eq!(pool.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow(&self, source: impl Discover + 'static) -> DiscoveryHandle {
        discovery::follow(&self.state, Box::new(source))
    }

    /// Returns whether both handles are of the same pool, as those of all clones are, and those of the
    /// layers that were given it.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Pool, ProxyLayer};
    ///
    /// let chat = Pool::new(["ws://10.0.0.1:8080"])?.build();
    /// let layer = ProxyLayer::new(chat.clone());
    /// assert!(layer.pool().same_pool(&chat));
    /// assert!(!Pool::new(["ws://10.0.0.1:8080"])?.build().same_pool(&chat));
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    #[must_use]
    pub fn same_pool(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// Observes the pool alone: the health, the probes and the changes of its upstreams, the failures of
    /// its source, and the waits in its queue, until the handle is dropped.
    ///
    /// An observer of a [layer](crate::ProxyLayer::observer) observes the layer's pool too, so one that is
    /// given to several layers of a pool gets each event of the pool several times. An observer that is
    /// given to the pool gets it once.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Observer, Pool, health::HealthTransition, observe::UpstreamInfo};
    ///
    /// struct PrintHealth;
    ///
    /// impl Observer for PrintHealth {
    ///     fn health_changed(&self, upstream: &UpstreamInfo<'_>, transition: &HealthTransition) {
    ///         println!("{}: {transition}", upstream.name);
    ///     }
    /// }
    ///
    /// let chat = Pool::new(["ws://10.0.0.1:8080"])?.build();
    /// let observing = chat.observe(PrintHealth);
    /// # drop(observing);
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn observe(&self, observer: impl Observer + 'static) -> ObserverHandle {
        let observer: Arc<dyn Observer> = Arc::new(observer);
        self.attach_observer(&observer);
        ObserverHandle::new(observer)
    }

    /// Returns the number of upstreams.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.len()
    }

    /// Whether the pool has no upstreams.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether an upstream of the pool has an address with TLS.
    pub(crate) fn uses_tls(&self) -> bool {
        let set = self.state.member_set();
        let mut members = set.members().iter();
        members.any(|member| matches!(member.upstream().address(), Address::Tls { .. }))
    }

    /// Returns the same pool with another policy for the route that uses the handle.
    pub(crate) fn with_balance(self, balance: AnyBalance) -> Self {
        Self { balance, ..self }
    }

    /// Returns the same pool with limits of its own, and a queue of its own for them, for the route
    /// that uses the handle.
    pub(crate) fn with_limits(self, admission: Admission, queue: QueueLimits) -> Self {
        let gate = Some(Arc::new(RouteGate::new(admission, queue)));
        Self { gate, ..self }
    }

    /// Returns the limits of the route that uses the handle.
    pub(crate) fn limits(&self) -> (Admission, QueueLimits) {
        match &self.gate {
            Some(gate) => (*gate.admission(), gate.queue_limits()),
            None => (Admission::new(), QueueLimits::default()),
        }
    }

    /// Sets the connector of later probes, and starts the monitor if the caller is in a runtime.
    pub(crate) fn set_probe_dialer(&self, dialer: &Dialer) {
        self.state.set_dialer(dialer.clone());
        if tokio::runtime::Handle::try_current().is_ok() {
            self.ensure_monitor();
        }
    }

    /// Starts the task that probes, if it is needed and not running. Must be called in a runtime; when
    /// that ends, another may go on.
    pub(crate) fn ensure_monitor(&self) {
        ensure_monitor(&self.state);
    }

    /// Reports events of the pool to this observer, for as long as it lives.
    pub(crate) fn attach_observer(&self, observer: &Arc<dyn Observer>) {
        self.state.attach_observer(observer);
    }

    /// Deposits the share of a request whose first attempt has ended.
    pub(crate) fn count_request(&self, now: Instant) {
        self.state.retry_window().deposit(now);
    }

    /// Withdraws a retry from the budget, if that has enough left.
    pub(crate) fn grant_retry(&self, cost: Cost) -> Option<GrantedRetry<'_>> {
        GrantedRetry::withdraw(&self.state, cost)
    }

    /// Returns the header that the policy adds to the response of the picked upstream.
    pub(crate) fn response_header(
        &self,
        picked: &Lease,
        head: &RequestHead<'_>,
        scheme: ClientScheme,
    ) -> Option<(HeaderName, HeaderValue)> {
        let picked = Candidate::picked(picked.member(), Instant::now());
        let header = catch_panic(|| self.balance.response_header(&picked, head, scheme));
        header.unwrap_or_else(|_| {
            tracing::error!(policy = ?self.balance, "a load-balancing policy panicked");
            None
        })
    }

    fn edit(&self, change: impl FnOnce(Vec<Upstream>) -> Vec<Upstream>) -> bool {
        self.state.edit(change, Instant::now())
    }
}

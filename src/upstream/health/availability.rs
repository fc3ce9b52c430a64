//! Availability policies: the use of unhealthy upstreams when few are healthy.

use std::{cmp::Reverse, fmt, sync::Arc};

use super::{
    health_counts::HealthCounts, health_state::EjectedBy, upstream_health::UpstreamHealth,
};

/// Availability policy: decides which unhealthy upstreams are used nevertheless.
///
/// Health describes an upstream; availability decides the consequence, since in some pools a
/// doubtful upstream is better than none. Healthy upstreams are always used.
///
/// | policy | when few upstreams are healthy | Envoy | HAProxy |
/// |---|---|---|---|
/// | [`Standard`] | the default: half of the upstreams at most are left out on clients' news, and all are used once none is healthy | both | |
/// | [`FailClosed`] | clients get 503 once all are unhealthy | `fail_traffic_on_panic` | default |
/// | [`KeepLast`] | the upstream that became unhealthy last stays in use | | |
/// | [`PanicThreshold`] | below a share of healthy upstreams, all are used | `healthy_panic_threshold` | |
/// | [`MaxEjectionPercent`] | only a limited share is ejected | `max_ejection_percent` | |
///
/// [`or`](Self::or) combines two policies: an upstream that either of them admits is used.
///
/// # Panics
///
/// No lock of the pool is held while a policy runs. It may call the pool; if that changes the pool,
/// the policy is called again. After a panic of a policy the pool uses the upstreams as before.
///
/// # Examples
///
/// A policy that always uses an upstream named `first`, whatever its health:
///
/// ```
/// use wsplice::health::{Admitted, Availability, UpstreamHealth};
///
/// #[derive(Debug)]
/// struct FirstIsAlwaysUp;
///
/// impl Availability for FirstIsAlwaysUp {
///     fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
///         let mut admitted = Admitted::healthy(pool);
///         if let Some(index) = pool.iter().position(|upstream| upstream.name == "first") {
///             admitted.insert(index);
///         }
///         admitted
///     }
/// }
///
/// let now = tokio::time::Instant::now();
/// let pool = [
///     UpstreamHealth::unhealthy(now),
///     UpstreamHealth::unhealthy(now).name("first"),
///     UpstreamHealth::healthy(),
/// ];
/// let admitted = FirstIsAlwaysUp.admit(&pool);
/// assert_eq!(admitted.iter().collect::<Vec<_>>(), [1, 2]);
/// ```
pub trait Availability: fmt::Debug + Send + Sync {
    /// Returns the upstreams that may be used. `pool` has all upstreams, in the pool's order. One
    /// that is drained, or has no weight, gets no clients even if it is among them.
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted;

    /// Combines two policies: an upstream that either of them admits is used.
    fn or<A: Availability>(self, other: A) -> Either<Self, A>
    where
        Self: Sized,
    {
        Either(self, other)
    }

    /// Whether these counts alone show that exactly the healthy upstreams may be used. Then a change
    /// of one upstream needs no look at the others.
    #[doc(hidden)]
    fn admits_the_healthy(&self, counts: &HealthCounts) -> bool {
        let _ = counts;
        false
    }
}

impl<A: Availability + ?Sized> Availability for Arc<A> {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        (**self).admit(pool)
    }

    fn admits_the_healthy(&self, counts: &HealthCounts) -> bool {
        (**self).admits_the_healthy(counts)
    }
}

/// Set of the upstreams of a pool that may be used, by their index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    admitted: Vec<bool>,
}

impl Admitted {
    /// Returns the set of the healthy upstreams.
    #[must_use]
    pub fn healthy(pool: &[UpstreamHealth<'_>]) -> Self {
        let admitted = pool.iter().map(UpstreamHealth::is_healthy).collect();
        Self { admitted }
    }

    /// Returns the set of all upstreams.
    #[must_use]
    pub fn all(pool: &[UpstreamHealth<'_>]) -> Self {
        let admitted = vec![true; pool.len()];
        Self { admitted }
    }

    /// Adds an upstream; an index outside the pool has no effect.
    pub fn insert(&mut self, index: usize) {
        if let Some(admitted) = self.admitted.get_mut(index) {
            *admitted = true;
        }
    }

    /// Whether the upstream at this index may be used.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        self.admitted.get(index).copied().unwrap_or_default()
    }

    /// Returns the number of upstreams that may be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether no upstream may be used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Returns an iterator over the indices of the upstreams that may be used, in the pool's order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<'_> {
        let admitted = self.admitted.iter().enumerate();
        admitted.filter_map(|(index, admitted)| admitted.then_some(index))
    }
}

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
            let doubtful = |health: &UpstreamHealth<'_>| {
                health.is_healthy() || health.ejected_by != EjectedBy::Operator
            };
            let admitted = pool.iter().map(doubtful).collect();
            return Admitted { admitted };
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

    fn admits_the_healthy(&self, counts: &HealthCounts) -> bool {
        counts.healthy > 0 && counts.by_clients <= (counts.serving / 2).max(1)
    }
}

/// Availability policy that uses healthy upstreams only; without one, clients get 503.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailClosed;

impl Availability for FailClosed {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        Admitted::healthy(pool)
    }

    fn admits_the_healthy(&self, _: &HealthCounts) -> bool {
        true
    }
}

/// Availability policy that keeps one upstream in use when all are unhealthy: among those with a
/// weight, the one that became unhealthy last. Ties go to the first in the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepLast;

impl Availability for KeepLast {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        let mut admitted = Admitted::healthy(pool);
        let is_serving = |index: usize| {
            let health = pool.get(index);
            health.is_some_and(|health| !health.is_draining && health.weight > 0)
        };
        if !admitted.iter().any(is_serving) {
            let last = (0..pool.len()).max_by_key(|index| {
                let health = pool.get(*index);
                let key = health.map(|health| {
                    let is_serving = health.weight > 0 && !health.is_draining;
                    (is_serving, health.unhealthy_since)
                });
                (key, Reverse(*index))
            });
            if let Some(last) = last {
                admitted.insert(last);
            }
        }
        admitted
    }

    fn admits_the_healthy(&self, counts: &HealthCounts) -> bool {
        counts.healthy > 0
    }
}

/// Availability policy that uses all upstreams once too few are healthy: those few could not carry
/// the load, and when so many fail at once, the check itself may be at fault.
///
/// # Examples
///
/// ```
/// use wsplice::health::{Admitted, Availability, UpstreamHealth, PanicThreshold};
///
/// let now = tokio::time::Instant::now();
/// let (healthy, unhealthy) = (UpstreamHealth::healthy(), UpstreamHealth::unhealthy(now));
///
/// let panic = PanicThreshold::below(0.5);
/// assert_eq!(panic.admit(&[healthy, unhealthy]).len(), 1);
/// assert_eq!(panic.admit(&[healthy, unhealthy, unhealthy]).len(), 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PanicThreshold {
    share: f64,
}

impl PanicThreshold {
    /// Creates the policy with a threshold from 0 to 1: all upstreams are used while a smaller
    /// share is healthy. The share is measured by weight, or by number if no upstream has a weight.
    #[must_use]
    pub const fn below(share: f64) -> Self {
        Self { share }
    }
}

impl Availability for PanicThreshold {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        let by_weight = |health: &UpstreamHealth<'_>| u64::from(health.weight);
        let healthy = healthy_share(pool, by_weight).or_else(|| healthy_share(pool, |_| 1));
        if healthy.is_some_and(|share| share < self.share) {
            Admitted::all(pool)
        } else {
            Admitted::healthy(pool)
        }
    }

    fn admits_the_healthy(&self, counts: &HealthCounts) -> bool {
        counts
            .healthy_share()
            .is_some_and(|healthy| healthy >= self.share)
    }
}

#[allow(clippy::cast_precision_loss)] // a share need not be exact
fn healthy_share(
    pool: &[UpstreamHealth<'_>],
    size: impl Fn(&UpstreamHealth<'_>) -> u64,
) -> Option<f64> {
    let serving = pool.iter().filter(|health| !health.is_draining);
    let all: u64 = serving.clone().map(&size).sum();
    let healthy: u64 = serving
        .filter(|health| health.is_healthy())
        .map(&size)
        .sum();
    (all > 0).then(|| healthy as f64 / all as f64)
}

/// Availability policy that ejects no more than a share of the upstreams: those that have been
/// unhealthy the longest. The other unhealthy upstreams are used nevertheless.
///
/// The number is rounded down, but is at least one in a pool of two or more. Of several that became
/// unhealthy together, the first in the pool is ejected.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::health::{MaxEjectionPercent, Availability, UpstreamHealth};
///
/// let now = tokio::time::Instant::now();
/// let old = UpstreamHealth::unhealthy(now);
/// let new = UpstreamHealth::unhealthy(now + Duration::from_secs(1));
///
/// let admitted = MaxEjectionPercent::percent(50).admit(&[new, old, new, UpstreamHealth::healthy(), old]);
/// assert_eq!(admitted.iter().collect::<Vec<_>>(), [0, 2, 3]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxEjectionPercent {
    percent: u8,
}

impl MaxEjectionPercent {
    /// Creates the policy with the maximum share of ejected upstreams, in percent; 0 ejects none.
    #[must_use]
    pub const fn percent(percent: u8) -> Self {
        Self { percent }
    }

    fn ejectable(self, pool: usize) -> usize {
        let share = pool.saturating_mul(self.percent.into()) / 100;
        if self.percent > 0 && pool > 1 {
            share.max(1)
        } else {
            share
        }
    }
}

impl Availability for MaxEjectionPercent {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        let mut unhealthy: Vec<_> = pool
            .iter()
            .enumerate()
            .filter(|(_, health)| !health.is_draining)
            .filter_map(|(index, health)| health.unhealthy_since.map(|since| (since, index)))
            .collect();
        unhealthy.sort_unstable();
        let mut admitted = Admitted::healthy(pool);
        let serving = pool.iter().filter(|health| !health.is_draining).count();
        for (_, index) in unhealthy.into_iter().skip(self.ejectable(serving)) {
            admitted.insert(index);
        }
        admitted
    }

    fn admits_the_healthy(&self, counts: &HealthCounts) -> bool {
        counts.weightless == 0
            && counts.serving.saturating_sub(counts.healthy) <= self.ejectable(counts.serving)
    }
}

/// Union of two availability policies; made by [`Availability::or`].
#[derive(Clone, Copy, Debug)]
pub struct Either<A, B>(A, B);

impl<A: Availability, B: Availability> Availability for Either<A, B> {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        let mut admitted = self.0.admit(pool);
        for index in self.1.admit(pool).iter() {
            admitted.insert(index);
        }
        admitted
    }

    fn admits_the_healthy(&self, counts: &HealthCounts) -> bool {
        self.0.admits_the_healthy(counts) && self.1.admits_the_healthy(counts)
    }
}

#[cfg(test)]
mod tests;

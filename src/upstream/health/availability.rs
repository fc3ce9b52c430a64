//! Whom to use when few are left.

use std::{cmp::Reverse, fmt, sync::Arc};

use tokio::time::Instant;

/// Decides which unhealthy upstreams are used nevertheless.
///
/// Health says what an upstream is; this says what to do about it, as there are pools for which a
/// doubtful upstream is better than none. Healthy upstreams are always used.
///
/// | | when few are left |
/// |---|---|
/// | [`FailClosed`] | clients get 503 once all are unhealthy; the default |
/// | [`KeepLast`] | the one that fell last stays in use |
/// | [`PanicThreshold`] | below a share of healthy ones, all are used |
/// | [`MaxEjectionPercent`] | no more than a share is left out |
///
/// [`or`](Self::or) combines two: what either of them admits is used.
///
/// # Examples
///
/// It is asked while the pool is locked for changes, and must not call the pool.
///
/// A spare upstream, used only when no other is healthy, is as easily written:
///
/// ```
/// use wsplice::health::{Admitted, Availability, UpstreamHealth};
///
/// #[derive(Debug)]
/// struct FirstIsAlwaysUp;
///
/// impl Availability for FirstIsAlwaysUp {
///     fn admit(&self, pool: &[UpstreamHealth]) -> Admitted {
///         let mut admitted = Admitted::healthy(pool);
///         admitted.insert(0);
///         admitted
///     }
/// }
///
/// let now = tokio::time::Instant::now();
/// let pool = [UpstreamHealth::unhealthy(now), UpstreamHealth::healthy(), UpstreamHealth::unhealthy(now)];
/// let admitted = FirstIsAlwaysUp.admit(&pool);
/// assert_eq!(admitted.iter().collect::<Vec<_>>(), [0, 1]);
/// ```
pub trait Availability: fmt::Debug + Send + Sync {
    /// Which upstreams may be used. The rows stand in the pool's order.
    fn admit(&self, pool: &[UpstreamHealth]) -> Admitted;

    /// Uses what either of two policies admits.
    fn or<A: Availability>(self, other: A) -> Either<Self, A>
    where
        Self: Sized,
    {
        Either(self, other)
    }
}

impl<A: Availability + ?Sized> Availability for Arc<A> {
    fn admit(&self, pool: &[UpstreamHealth]) -> Admitted {
        (**self).admit(pool)
    }
}

/// One upstream, as an [`Availability`] sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamHealth {
    /// Since when it is unhealthy; `None` when it is healthy or on trial.
    pub unhealthy_since: Option<Instant>,
    /// Its weight; see [`Upstream::weight`](crate::Upstream::weight).
    pub weight: u32,
}

/// The upstreams of a pool that may be used, by where they stand in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    admitted: Vec<bool>,
}

impl UpstreamHealth {
    /// A healthy upstream of weight 1.
    #[must_use]
    pub const fn healthy() -> Self {
        Self {
            unhealthy_since: None,
            weight: 1,
        }
    }

    /// An unhealthy upstream of weight 1.
    #[must_use]
    pub const fn unhealthy(since: Instant) -> Self {
        Self {
            unhealthy_since: Some(since),
            weight: 1,
        }
    }

    /// The same with this weight.
    #[must_use]
    pub const fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Whether it is healthy or on trial.
    #[must_use]
    pub const fn is_healthy(&self) -> bool {
        self.unhealthy_since.is_none()
    }
}

impl Admitted {
    /// The healthy ones.
    #[must_use]
    pub fn healthy(pool: &[UpstreamHealth]) -> Self {
        let admitted = pool.iter().map(UpstreamHealth::is_healthy).collect();
        Self { admitted }
    }

    /// All of them.
    #[must_use]
    pub fn all(pool: &[UpstreamHealth]) -> Self {
        let admitted = vec![true; pool.len()];
        Self { admitted }
    }

    /// Admits one more; one that is not in the pool changes nothing.
    pub fn insert(&mut self, index: usize) {
        if let Some(admitted) = self.admitted.get_mut(index) {
            *admitted = true;
        }
    }

    /// Whether this one may be used.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        self.admitted.get(index).copied().unwrap_or_default()
    }

    /// How many may be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether none may be used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Those that may be used, in the pool's order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<'_> {
        let admitted = self.admitted.iter().enumerate();
        admitted.filter_map(|(index, admitted)| admitted.then_some(index))
    }
}

/// Uses the healthy ones only; when there is none, clients get 503.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailClosed;

impl Availability for FailClosed {
    fn admit(&self, pool: &[UpstreamHealth]) -> Admitted {
        Admitted::healthy(pool)
    }
}

/// Keeps one in use when all are unhealthy: the one that became so last, of those that have a
/// weight. Of several that fell together it is the first in the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepLast;

impl Availability for KeepLast {
    fn admit(&self, pool: &[UpstreamHealth]) -> Admitted {
        let mut admitted = Admitted::healthy(pool);
        if admitted.is_empty() {
            let last = (0..pool.len()).max_by_key(|index| {
                let row = pool.get(*index);
                let fell = row.map(|row| (row.weight > 0, row.unhealthy_since));
                (fell, Reverse(*index))
            });
            if let Some(last) = last {
                admitted.insert(last);
            }
        }
        admitted
    }
}

/// Uses all of them once too few are healthy, as those few could not carry the load: when so
/// many fail at once, it may well be the check that fails.
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
    /// Uses all when less than this share, from 0 to 1, is healthy. The share is of the pool's
    /// weight; of its upstreams where none has any.
    #[must_use]
    pub const fn below(share: f64) -> Self {
        Self { share }
    }
}

impl Availability for PanicThreshold {
    fn admit(&self, pool: &[UpstreamHealth]) -> Admitted {
        let of_weight = |row: &UpstreamHealth| u64::from(row.weight);
        let healthy = healthy_share(pool, of_weight).or_else(|| healthy_share(pool, |_| 1));
        if healthy.is_some_and(|share| share < self.share) {
            Admitted::all(pool)
        } else {
            Admitted::healthy(pool)
        }
    }
}

#[allow(clippy::cast_precision_loss)] // a share need not be exact
fn healthy_share(pool: &[UpstreamHealth], size: impl Fn(&UpstreamHealth) -> u64) -> Option<f64> {
    let all: u64 = pool.iter().map(&size).sum();
    let healthy: u64 = pool.iter().filter(|row| row.is_healthy()).map(&size).sum();
    (all > 0).then(|| healthy as f64 / all as f64)
}

/// Leaves no more than a share of the upstreams out: those that have been unhealthy the longest.
/// The rest of the unhealthy ones is used nevertheless.
///
/// The number is rounded down, but one may be left out in any pool of two or more. Of several
/// that fell together the first in the pool is left out.
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
    /// The share that may be left out, in percent; with 0 none ever is.
    #[must_use]
    pub const fn percent(percent: u8) -> Self {
        Self { percent }
    }

    fn left_out(self, pool: usize) -> usize {
        let share = pool.saturating_mul(self.percent.into()) / 100;
        if self.percent > 0 && pool > 1 {
            share.max(1)
        } else {
            share
        }
    }
}

impl Availability for MaxEjectionPercent {
    fn admit(&self, pool: &[UpstreamHealth]) -> Admitted {
        let mut fallen: Vec<_> = pool
            .iter()
            .enumerate()
            .filter_map(|(index, row)| row.unhealthy_since.map(|since| (since, index)))
            .collect();
        fallen.sort_unstable();
        let mut admitted = Admitted::healthy(pool);
        for (_, index) in fallen.into_iter().skip(self.left_out(pool.len())) {
            admitted.insert(index);
        }
        admitted
    }
}

/// What either of two policies admits; made by [`Availability::or`].
#[derive(Clone, Copy, Debug)]
pub struct Either<A, B>(A, B);

impl<A: Availability, B: Availability> Availability for Either<A, B> {
    fn admit(&self, pool: &[UpstreamHealth]) -> Admitted {
        let mut admitted = self.0.admit(pool);
        for index in self.1.admit(pool).iter() {
            admitted.insert(index);
        }
        admitted
    }
}

#[cfg(test)]
mod tests;

//! Trait of availability policies. Pure.

use std::{fmt, sync::Arc};

use super::{admitted::Admitted, health_counts::HealthCounts, upstream_health::UpstreamHealth};

/// Availability policy: decides which unhealthy upstreams are used nevertheless.
///
/// Health describes an upstream; availability decides the consequence, since in some pools a
/// doubtful upstream is better than none. Healthy upstreams are always used.
///
/// | policy | when few upstreams are healthy | Envoy | HAProxy |
/// |---|---|---|---|
/// | [`Standard`](super::Standard) | the default: half of the upstreams at most are left out on clients' news, and all are used once none is healthy | both | |
/// | [`FailClosed`](super::FailClosed) | clients get 503 once all are unhealthy | `fail_traffic_on_panic` | default |
/// | [`KeepLast`](super::KeepLast) | the upstream that became unhealthy last stays in use | | |
/// | [`PanicThreshold`](super::PanicThreshold) | below a share of healthy upstreams, all are used | `healthy_panic_threshold` | |
/// | [`MaxEjectionPercent`](super::MaxEjectionPercent) | only a limited share is ejected | `max_ejection_percent` | |
///
/// [`or`](Self::or) combines two policies: an upstream that either of them admits is used.
///
/// # Panics
///
/// No lock of the pool is held while [`admit`](Self::admit) runs. It may call the pool; if that changes
/// the pool, it is called again. After a panic of a policy the pool uses the upstreams as before.
///
/// # Examples
///
/// A policy that always uses an upstream named `first`, whatever its health:
///
/// ```
/// use wsplice::health::availability::{Admitted, Availability, UpstreamHealth};
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
pub trait Availability: Send + Sync {
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

    /// Whether these counts alone show that [`admit`](Self::admit) would return exactly the healthy
    /// upstreams; `false` by default, which is always right.
    ///
    /// While they do, a change of one upstream costs no look at the others, and `admit` is not
    /// called. The default calls it with the whole pool after each change.
    ///
    /// The pool is locked meanwhile. This method must not call a pool: a call that needs a lock
    /// panics.
    fn uses_the_healthy(&self, counts: &HealthCounts) -> bool {
        let _ = counts;
        false
    }
}

/// Shows the name of the trait alone, as `Debug` is not demanded of its types.
impl fmt::Debug for dyn Availability + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Availability")
    }
}

impl<A: Availability + ?Sized> Availability for Arc<A> {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        (**self).admit(pool)
    }

    fn uses_the_healthy(&self, counts: &HealthCounts) -> bool {
        (**self).uses_the_healthy(counts)
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

    fn uses_the_healthy(&self, counts: &HealthCounts) -> bool {
        self.0.uses_the_healthy(counts) && self.1.uses_the_healthy(counts)
    }
}

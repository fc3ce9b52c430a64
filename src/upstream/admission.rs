//! Admission limits of one upstream or of a whole pool: tunnels, handshakes, and their rate.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{error::ErrorKind, lock::lock, token_bucket::TokenBucket};

/// Limits on tunnels and handshakes, for one upstream or for a whole pool.
///
/// Limits keep a storm of reconnecting clients from burying an upstream that has just come back.
///
/// # Defaults
///
/// | method | default | unit | why |
/// |---|---|---|---|
/// | [`max_tunnels`](Self::max_tunnels) | no limit | tunnels | the capacity of an upstream is the application's knowledge |
/// | [`max_handshakes`](Self::max_handshakes) | no limit | handshakes | as above |
/// | [`handshakes_per_second`](Self::handshakes_per_second) | no limit | handshakes a second | as above |
///
/// # Examples
///
/// ```
/// use wsplice::{Admission, Pool, Upstream};
///
/// let each = Admission::new().max_tunnels(10_000).max_handshakes(50);
/// let pool = Pool::from_upstreams([Upstream::new("ws://10.0.0.1:8080")?.admission(each)])
///     .admission(Admission::new().handshakes_per_second(500));
/// # let _ = pool;
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Admission {
    max_tunnels: Option<usize>,
    max_handshakes: Option<usize>,
    handshakes_per_second: Option<u32>,
}

impl Admission {
    /// Returns settings without limits.
    pub const fn new() -> Self {
        Self {
            max_tunnels: None,
            max_handshakes: None,
            handshakes_per_second: None,
        }
    }

    /// Whether there is any limit.
    pub(crate) const fn is_limited(&self) -> bool {
        self.max_tunnels.is_some()
            || self.max_handshakes.is_some()
            || self.handshakes_per_second.is_some()
    }

    /// Limits the tunnels that are open at once, including those whose handshake is under way. A
    /// [forwarded](crate::ForwardHttp) request counts as one until its response has ended. The
    /// other limits and the [queue](crate::pool::PoolBuilder::queue) do not apply to it.
    pub const fn max_tunnels(mut self, tunnels: usize) -> Self {
        self.max_tunnels = Some(tunnels);
        self
    }

    /// Limits the handshakes that are under way at once, from the pick to the response.
    pub const fn max_handshakes(mut self, handshakes: usize) -> Self {
        self.max_handshakes = Some(handshakes);
        self
    }

    /// Limits the handshakes that begin in a second; a second's worth may begin at once.
    pub const fn handshakes_per_second(mut self, handshakes: u32) -> Self {
        self.handshakes_per_second = Some(handshakes);
        self
    }
}

/// Kind of traffic that asks for admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdmissionKind {
    /// A handshake and its tunnel.
    Tunnel,
    /// One request and its response. It counts as a tunnel for as long as it lasts, since a polling
    /// client has a request under way nearly always; the limits on handshakes do not apply.
    Exchange,
}

/// Limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitReached {
    pub(crate) kind: ErrorKind,
    /// Earliest time at which a new try can succeed, if time alone will help.
    pub(crate) retry_at: Option<Instant>,
}

impl LimitReached {
    /// Combines two limits that were both reached; the earlier of their times is worth a try.
    pub(crate) fn and(self, other: Self) -> Self {
        let retry_at = match (self.retry_at, other.retry_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self { retry_at, ..other }
    }
}

/// Counts tunnels and handshakes, and admits no more than the limits allow.
#[derive(Debug, Default)]
pub(crate) struct AdmissionCounters {
    tunnels: AtomicUsize,
    handshakes: AtomicUsize,
    bucket: Mutex<Option<TokenBucket>>,
    /// Whether the bucket held no token when it was last looked at.
    is_rate_used_up: AtomicBool,
}

impl AdmissionCounters {
    pub(crate) fn tunnels(&self) -> usize {
        self.tunnels.load(Ordering::Relaxed)
    }

    pub(crate) fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }

    /// Whether the limits leave no room for this kind, as far as it was known at the last look at the
    /// rate; see [`rate_ready_at`](Self::rate_ready_at).
    pub(crate) fn is_full(&self, kind: AdmissionKind, limits: &Admission) -> bool {
        let reaches = |count: usize, max: Option<usize>| max.is_some_and(|max| count >= max);
        reaches(self.tunnels(), limits.max_tunnels)
            || (kind == AdmissionKind::Tunnel
                && (reaches(self.handshakes(), limits.max_handshakes)
                    || self.is_rate_used_up(limits)))
    }

    /// Whether the handshakes of this second were used up at the last look at the rate.
    pub(crate) fn is_rate_used_up(&self, limits: &Admission) -> bool {
        limits.handshakes_per_second.is_some() && self.is_rate_used_up.load(Ordering::Relaxed)
    }

    /// Looks at the rate, and returns when there is room for a handshake again; `None` if there is
    /// now.
    pub(crate) fn rate_ready_at(&self, limits: &Admission, now: Instant) -> Option<Instant> {
        let rate = limits.handshakes_per_second?;
        let mut bucket = lock(&self.bucket);
        let bucket = bucket.as_mut()?;
        bucket.set_rate(f64::from(rate), now);
        let is_used_up = !bucket.has(1.0, now);
        self.is_rate_used_up.store(is_used_up, Ordering::Relaxed);
        is_used_up.then(|| bucket.ready_at(1.0, now))
    }

    /// Returns the limit that does not admit this kind now, without counting anything.
    pub(crate) fn limit_reached(
        &self,
        kind: AdmissionKind,
        limits: &Admission,
        now: Instant,
    ) -> Option<LimitReached> {
        let reached = |kind| {
            Some(LimitReached {
                kind,
                retry_at: None,
            })
        };
        if limits.max_tunnels.is_some_and(|max| self.tunnels() >= max) {
            return reached(ErrorKind::TooManyTunnels);
        }
        if kind == AdmissionKind::Exchange {
            return None;
        }
        if limits
            .max_handshakes
            .is_some_and(|max| self.handshakes() >= max)
        {
            return reached(ErrorKind::TooManyHandshakes);
        }
        let ready_at = self.rate_ready_at(limits, now)?;
        Some(LimitReached {
            kind: ErrorKind::TooManyHandshakesPerSecond,
            retry_at: Some(ready_at),
        })
    }

    /// Admits one more tunnel, and one more handshake if the kind includes one.
    ///
    /// # Errors
    ///
    /// The limit that was reached. Nothing is counted then.
    pub(crate) fn admit(
        &self,
        kind: AdmissionKind,
        limits: &Admission,
        now: Instant,
    ) -> Result<(), LimitReached> {
        let limit = |kind| LimitReached {
            kind,
            retry_at: None,
        };
        if !try_increment(&self.tunnels, limits.max_tunnels) {
            return Err(limit(ErrorKind::TooManyTunnels));
        }
        if kind == AdmissionKind::Exchange {
            return Ok(());
        }
        if !try_increment(&self.handshakes, limits.max_handshakes) {
            self.tunnels.fetch_sub(1, Ordering::Relaxed);
            return Err(limit(ErrorKind::TooManyHandshakes));
        }
        self.take_token(limits, now).inspect_err(|_| {
            self.end_handshake();
            self.end_tunnel();
        })
    }

    /// Takes back an admission that was not used, including its token of the rate limit.
    pub(crate) fn revoke(&self, kind: AdmissionKind) {
        self.end_tunnel();
        if kind == AdmissionKind::Exchange {
            return;
        }
        self.end_handshake();
        let mut bucket = lock(&self.bucket);
        if let Some(bucket) = &mut *bucket {
            bucket.give_back(1.0);
            self.is_rate_used_up.store(false, Ordering::Relaxed);
        }
    }

    pub(crate) fn end_handshake(&self) {
        self.handshakes.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn end_tunnel(&self) {
        self.tunnels.fetch_sub(1, Ordering::Relaxed);
    }

    fn take_token(&self, limits: &Admission, now: Instant) -> Result<(), LimitReached> {
        let Some(rate) = limits.handshakes_per_second else {
            return Ok(());
        };
        let mut bucket = lock(&self.bucket);
        let rate = f64::from(rate);
        let bucket = bucket.get_or_insert_with(|| TokenBucket::full(rate, now));
        // The limits may have changed since the last call.
        bucket.set_rate(rate, now);
        let is_taken = bucket.take(1.0, now);
        let is_used_up = !bucket.has(1.0, now);
        self.is_rate_used_up.store(is_used_up, Ordering::Relaxed);
        if is_taken {
            return Ok(());
        }
        let kind = ErrorKind::TooManyHandshakesPerSecond;
        Err(LimitReached {
            kind,
            retry_at: Some(bucket.ready_at(1.0, now)),
        })
    }
}

/// Adds one to the count, unless the maximum is reached.
fn try_increment(count: &AtomicUsize, max: Option<usize>) -> bool {
    let Some(max) = max else {
        count.fetch_add(1, Ordering::Relaxed);
        return true;
    };
    let one_more = |now: usize| (now < max).then_some(now + 1);
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
        .is_ok()
}

/// Limits of the pool's queue: the time a handshake may wait, and the number of waiters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QueueLimits {
    pub(crate) max_waiters: usize,
    pub(crate) max_wait: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_counts_as_a_tunnel_and_not_as_a_handshake() {
        let now = Instant::now();
        let counters = AdmissionCounters::default();
        let limits = Admission::new()
            .max_tunnels(2)
            .max_handshakes(0)
            .handshakes_per_second(1);
        for _ in 0..2 {
            assert_eq!(
                counters.admit(AdmissionKind::Exchange, &limits, now),
                Ok(())
            );
        }
        assert_eq!((counters.tunnels(), counters.handshakes()), (2, 0));
        let third = counters.admit(AdmissionKind::Exchange, &limits, now);
        assert_eq!(kind(third), Some(ErrorKind::TooManyTunnels));
        counters.revoke(AdmissionKind::Exchange);
        assert_eq!((counters.tunnels(), counters.handshakes()), (1, 0));
    }

    fn kind(result: Result<(), LimitReached>) -> Option<ErrorKind> {
        result.err().map(|limit| limit.kind)
    }

    #[test]
    fn each_limit_has_its_own_kind_and_counts_nothing_when_it_refuses() {
        let now = Instant::now();
        let counters = AdmissionCounters::default();
        let limits = Admission::new().max_tunnels(2).max_handshakes(1);
        assert_eq!(counters.admit(AdmissionKind::Tunnel, &limits, now), Ok(()));
        assert_eq!(
            kind(counters.admit(AdmissionKind::Tunnel, &limits, now)),
            Some(ErrorKind::TooManyHandshakes)
        );
        counters.end_handshake();
        assert_eq!(counters.admit(AdmissionKind::Tunnel, &limits, now), Ok(()));
        counters.end_handshake();
        assert_eq!(
            kind(counters.admit(AdmissionKind::Tunnel, &limits, now)),
            Some(ErrorKind::TooManyTunnels)
        );
        assert_eq!((counters.tunnels(), counters.handshakes()), (2, 0));
    }

    #[test]
    fn a_rate_limit_has_a_retry_time() {
        let now = Instant::now();
        let counters = AdmissionCounters::default();
        let limits = Admission::new().handshakes_per_second(2);
        assert!(
            counters.admit(AdmissionKind::Tunnel, &limits, now).is_ok()
                && counters.admit(AdmissionKind::Tunnel, &limits, now).is_ok()
        );
        let limit = counters
            .admit(AdmissionKind::Tunnel, &limits, now)
            .unwrap_err();
        assert_eq!(limit.kind, ErrorKind::TooManyHandshakesPerSecond);
        let retry_at = limit.retry_at.unwrap();
        assert_eq!(retry_at, now + Duration::from_millis(500));
        assert_eq!((counters.tunnels(), counters.handshakes()), (2, 2));
        assert_eq!(
            counters.admit(AdmissionKind::Tunnel, &limits, retry_at),
            Ok(())
        );
    }

    #[test]
    fn a_rate_that_is_changed_counts_from_then_on() {
        let now = Instant::now();
        let counters = AdmissionCounters::default();
        let slow = Admission::new().handshakes_per_second(1);
        assert_eq!(counters.admit(AdmissionKind::Tunnel, &slow, now), Ok(()));
        let quick = Admission::new().handshakes_per_second(100);
        let limit = counters
            .admit(AdmissionKind::Tunnel, &quick, now)
            .unwrap_err();
        assert_eq!(limit.retry_at, Some(now + Duration::from_millis(10)));
        let later = now + Duration::from_secs(1);
        assert!((0..100).all(|_| counters.admit(AdmissionKind::Tunnel, &quick, later).is_ok()));
        assert!(
            counters
                .admit(AdmissionKind::Tunnel, &quick, later)
                .is_err()
        );
    }
}

//! Ejection: how long an unhealthy upstream gets no clients if probes cannot readmit it.

use std::time::Duration;

use tokio::time::Instant;

use crate::instant::{FAR, saturating_add};

/// Ejection time of an unhealthy upstream, before it becomes half-open.
///
/// Without probes and without clients, an upstream's recovery would never be noticed. After a while
/// it therefore gets clients again, in the state [half-open](super::HealthState::HalfOpen): if the
/// next handshake fails, the upstream is ejected again, for longer; if it succeeds, the upstream is
/// healthy.
///
/// The n-th ejection in a row lasts n times the base, up to a maximum, plus or minus jitter. Each
/// decay interval in health reduces n by one.
///
/// With probes, the first recovery is as soon as they pass. An upstream that becomes unhealthy
/// again before its count has decayed is ejected for at least as long as without probes, so that a
/// flapping upstream affects fewer and fewer clients. With a base of zero, probes always readmit at
/// once.
///
/// # Defaults
///
/// | method | default | unit | why | Envoy |
/// |---|---|---|---|---|
/// | [`base`](Self::base) | 10 | seconds | a restart takes about that long | `base_ejection_time` |
/// | [`max`](Self::max) | 300 | seconds | bounds the time lost after a recovery | `max_ejection_time` |
/// | [`jitter`](Self::jitter) | 0.1 | share | upstreams do not return in step | `max_ejection_time_jitter` |
/// | [`decay_interval`](Self::decay_interval) | 60 | seconds | a flapping upstream is remembered | |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::health::Ejection;
///
/// let ejection = Ejection::new().base(Duration::from_secs(5)).jitter(0.0);
/// assert_eq!(ejection.time(3, 0.5), Duration::from_secs(15));
/// assert_eq!(ejection.time(1000, 0.5), Duration::from_secs(300));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Ejection {
    base: Duration,
    max: Duration,
    jitter: f64,
    decay_interval: Duration,
}

impl Ejection {
    /// Returns settings with the defaults above.
    pub const fn new() -> Self {
        Self {
            base: Duration::from_secs(10),
            max: Duration::from_secs(300),
            jitter: 0.1,
            decay_interval: Duration::from_secs(60),
        }
    }

    /// Sets the duration of the first ejection. With zero it lasts only while the policy still
    /// counts the failures.
    pub const fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// Sets the maximum duration of an ejection, before jitter.
    pub const fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// Sets the share by which an ejection may be shorter or longer, from 0 to 1, so that upstreams
    /// which were ejected together do not return together.
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Sets how long an upstream must be healthy for its count of ejections to decrease by one.
    /// With zero every ejection lasts as long as the first.
    pub const fn decay_interval(mut self, health: Duration) -> Self {
        self.decay_interval = health;
        self
    }

    /// Returns the duration of the n-th ejection in a row, counted from 1. `random` is a number
    /// from 0 to 1.
    #[must_use]
    pub fn time(&self, count: u32, random: f64) -> Duration {
        let time = self
            .base
            .saturating_mul(count.max(1))
            .min(self.max.min(FAR));
        time.mul_f64(jittered(self.jitter, random))
    }

    /// Returns the longest duration of an ejection, without jitter.
    pub(super) fn longest(&self) -> Duration {
        self.max.max(self.base).min(FAR)
    }

    /// Returns what remains of a count after this time in health.
    pub(super) fn decay(&self, count: u32, health: Duration) -> u32 {
        if self.decay_interval.is_zero() {
            return 0;
        }
        let decayed = health.as_nanos() / self.decay_interval.as_nanos();
        count.saturating_sub(u32::try_from(decayed).unwrap_or(u32::MAX))
    }
}

impl Default for Ejection {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns a factor between `1 - share` and `1 + share`, linear in `random`.
pub(super) fn jittered(share: f64, random: f64) -> f64 {
    1.0 + unit(share) * (2.0 * unit(random) - 1.0)
}

/// Clamps to the range from 0 to 1; NaN becomes 0.
const fn unit(number: f64) -> f64 {
    if number.is_nan() {
        0.0
    } else {
        number.clamp(0.0, 1.0)
    }
}

/// Ejections of one upstream so far.
#[derive(Clone, Debug, Default)]
pub(super) struct EjectionHistory {
    count: u32,
    readmitted_at: Option<Instant>,
}

impl EjectionHistory {
    /// Counts an ejection and returns its end.
    pub(super) fn eject(&mut self, ejection: &Ejection, now: Instant, random: f64) -> Instant {
        self.add(ejection, now);
        saturating_add(now, ejection.time(self.count, random))
    }

    /// Counts an ejection that probes can end; returns the time before which they cannot.
    pub(super) fn hold(
        &mut self,
        ejection: &Ejection,
        now: Instant,
        random: f64,
    ) -> Option<Instant> {
        self.add(ejection, now);
        let before = self.count.checked_sub(1).filter(|before| *before > 0)?;
        Some(saturating_add(now, ejection.time(before, random)))
    }

    fn add(&mut self, ejection: &Ejection, now: Instant) {
        if let Some(readmitted_at) = self.readmitted_at.take() {
            let health = now.saturating_duration_since(readmitted_at);
            self.count = ejection.decay(self.count, health);
        }
        self.count = self.count.saturating_add(1);
    }

    /// Records that the upstream is used again.
    pub(super) const fn readmit(&mut self, now: Instant) {
        self.readmitted_at = Some(now);
    }
}

#[cfg(test)]
impl EjectionHistory {
    /// Returns the number of ejections in a row that have not decayed.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::health::testing::secs;
    use proptest::prelude::*;

    #[test]
    fn repeated_ejections_last_longer_and_decay_one_by_one() {
        let ejection = Ejection::new().jitter(0.0);
        let mut record = EjectionHistory::default();
        assert_eq!(record.eject(&ejection, secs(0), 0.5), secs(10));
        record.readmit(secs(10));
        assert_eq!(record.eject(&ejection, secs(11), 0.5), secs(31));
        record.readmit(secs(31));
        assert_eq!(record.eject(&ejection, secs(32), 0.5), secs(62));
        record.readmit(secs(62));
        // 120 seconds of health take two of three off the count.
        assert_eq!(record.eject(&ejection, secs(182), 0.5), secs(202));
        assert_eq!(record.count(), 2);
    }

    #[test]
    fn jitter_goes_both_ways() {
        let ejection = Ejection::new().jitter(0.2);
        assert_eq!(ejection.time(1, 0.0), Duration::from_secs(8));
        assert_eq!(ejection.time(1, 1.0), Duration::from_secs(12));
    }

    proptest! {
        #[test]
        fn no_setting_and_no_random_number_panics_or_leaves_the_bounds(
            base in 0..u64::MAX, count: u32, jitter: f64, random: f64,
        ) {
            let ejection = Ejection::new().base(Duration::from_millis(base)).jitter(jitter);
            prop_assert!(ejection.time(count, random) <= Duration::from_secs(600));
        }

        #[test]
        fn a_later_ejection_is_never_shorter(count in 1..1000_u32) {
            let ejection = Ejection::new();
            prop_assert!(ejection.time(count + 1, 0.5) >= ejection.time(count, 0.5));
        }
    }
}

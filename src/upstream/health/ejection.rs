//! For how long an upstream is left out that no probe can bring back.

use std::time::Duration;

use tokio::time::Instant;

use crate::instant::{FAR, saturating_add};

/// How long an ejected upstream gets no clients, before it is put on trial.
///
/// Where nothing is probed, an upstream without clients would never be heard of again. So after a
/// while it gets clients as before, on trial: if the next handshake fails it is ejected again, for
/// longer; if it succeeds the upstream is healthy.
///
/// The n-th ejection in a row lasts n times the base, up to a maximum, give or take the jitter.
/// Each stretch of health of a certain length takes one ejection off that count.
///
/// Where probes lead an upstream back, they do so as soon as they pass, for the first time. One
/// that falls again before that is forgiven is left out for at least as long as an ejection
/// would have lasted, so that one which flaps takes fewer and fewer clients with it. With a base of
/// zero its probes are always believed at once.
///
/// | | default |
/// |---|---|
/// | base | 10 s |
/// | maximum | 5 min |
/// | jitter | 10 % |
/// | forgiven after | 1 min for each |
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
    /// The defaults above.
    pub const fn new() -> Self {
        Self {
            base: Duration::from_secs(10),
            max: Duration::from_secs(300),
            jitter: 0.1,
            decay_interval: Duration::from_secs(60),
        }
    }

    /// How long the first ejection lasts. With zero it lasts only while the policy still counts
    /// the failures.
    pub const fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// How long any ejection lasts at most, before jitter.
    pub const fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// By which share an ejection may be shorter or longer, from 0 to 1, so that upstreams which
    /// fell together do not come back together.
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// How long an upstream must be healthy for one ejection to be forgiven. With zero every
    /// ejection lasts as long as the first.
    pub const fn decay_interval(mut self, health: Duration) -> Self {
        self.decay_interval = health;
        self
    }

    /// How long the n-th ejection in a row lasts, counted from 1. `dice` is a number from 0 to 1.
    #[must_use]
    pub fn time(&self, count: u32, dice: f64) -> Duration {
        let time = self
            .base
            .saturating_mul(count.max(1))
            .min(self.max.min(FAR));
        time.mul_f64(jittered(self.jitter, dice))
    }

    /// What is left of a count after so long in health.
    pub(super) fn forgive(&self, count: u32, health: Duration) -> u32 {
        if self.decay_interval.is_zero() {
            return 0;
        }
        let forgiven = health.as_nanos() / self.decay_interval.as_nanos();
        count.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }
}

impl Default for Ejection {
    fn default() -> Self {
        Self::new()
    }
}

/// A factor between `1 - share` and `1 + share`, evenly by the dice.
pub(super) fn jittered(share: f64, dice: f64) -> f64 {
    1.0 + unit(share) * (2.0 * unit(dice) - 1.0)
}

/// The number from 0 to 1 that is nearest; 0 for what is no number.
const fn unit(number: f64) -> f64 {
    if number.is_nan() {
        0.0
    } else {
        number.clamp(0.0, 1.0)
    }
}

/// The ejections of one upstream so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    count: u32,
    readmitted: Option<Instant>,
}

impl Record {
    /// Counts one more, and says until when it lasts.
    pub(super) fn eject(&mut self, ejection: &Ejection, now: Instant, dice: f64) -> Instant {
        self.add(ejection, now);
        saturating_add(now, ejection.time(self.count, dice))
    }

    /// Counts one more from which probes lead back, and says until when they are not believed.
    pub(super) fn hold(&mut self, ejection: &Ejection, now: Instant, dice: f64) -> Option<Instant> {
        self.add(ejection, now);
        let before = self.count.checked_sub(1).filter(|before| *before > 0)?;
        Some(saturating_add(now, ejection.time(before, dice)))
    }

    fn add(&mut self, ejection: &Ejection, now: Instant) {
        if let Some(readmitted) = self.readmitted.take() {
            let health = now.saturating_duration_since(readmitted);
            self.count = ejection.forgive(self.count, health);
        }
        self.count = self.count.saturating_add(1);
    }

    /// The upstream may be used again.
    pub(super) const fn readmit(&mut self, now: Instant) {
        self.readmitted = Some(now);
    }

    /// How many there were in a row, not yet forgiven.
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
    fn repeated_ejections_last_longer_and_health_forgives_them_one_by_one() {
        let ejection = Ejection::new().jitter(0.0);
        let mut record = Record::default();
        assert_eq!(record.eject(&ejection, secs(0), 0.5), secs(10));
        record.readmit(secs(10));
        assert_eq!(record.eject(&ejection, secs(11), 0.5), secs(31));
        record.readmit(secs(31));
        assert_eq!(record.eject(&ejection, secs(32), 0.5), secs(62));
        record.readmit(secs(62));
        // 120 seconds of health forgive two of three.
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
        fn no_setting_and_no_dice_panic_or_leave_the_bounds(
            base in 0..u64::MAX, count: u32, jitter: f64, dice: f64,
        ) {
            let ejection = Ejection::new().base(Duration::from_millis(base)).jitter(jitter);
            prop_assert!(ejection.time(count, dice) <= Duration::from_secs(600));
        }

        #[test]
        fn a_later_ejection_is_never_shorter(count in 1..1000_u32) {
            let ejection = Ejection::new();
            prop_assert!(ejection.time(count + 1, 0.5) >= ejection.time(count, 0.5));
        }
    }
}

//! Outlier detection: upstreams that do worse than the others.

use std::{fmt, time::Duration};

use super::{
    event::{EventOutcome, HealthEventKind},
    event_filter::EventFilter,
};

/// Outlier policy: compares the upstreams of a pool with one another.
///
/// A [`HealthPolicy`](super::HealthPolicy) sees one upstream and needs absolute thresholds. An
/// outlier policy sees all of them, once an [`interval`](Self::interval), by their events since the
/// last comparison; the outliers that it returns are ejected.
///
/// | in a policy of your own, you want | take |
/// |---|---|
/// | some kinds of events alone to count | [`counted_events`](Self::counted_events) |
/// | the events and failures of an upstream | [`EventCounts`]; their number is its [`volume`](EventCounts::volume) |
/// | an upstream ejected, with a cause for the log | [`Outlier`], by [`Outlier::new`] |
pub trait OutlierPolicy: Send + Sync {
    /// Returns the time between two comparisons.
    ///
    /// The interval may change: the pool reads it with each event, and at least once a minute. It may be
    /// locked then, so that this method must not call a pool: a call that needs a lock panics.
    fn interval(&self) -> Duration;

    /// Returns the events that count; all events of clients' handshakes by default. The pool is locked
    /// meanwhile, so that this method must not call one.
    fn counted_events(&self) -> EventFilter {
        EventFilter::handshakes()
    }

    /// Returns the upstreams that should be ejected, in any order.
    ///
    /// `pool` has the [counts](EventCounts) of each upstream, in the pool's order; those of
    /// upstreams that are already unhealthy are zero.
    fn outliers(&self, pool: &[EventCounts]) -> Vec<Outlier>;
}

/// Shows the name of the trait alone, as `Debug` is not demanded of its types.
impl fmt::Debug for dyn OutlierPolicy + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutlierPolicy")
    }
}

/// Counts of one upstream's events within an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventCounts {
    /// Number of good events.
    pub good: u64,
    /// Number of bad events.
    pub bad: u64,
}

/// Upstream that should be ejected.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Outlier {
    /// Index in the pool.
    pub index: usize,
    /// Human-readable cause.
    pub cause: String,
}

impl EventCounts {
    /// Creates counts of good and bad events.
    #[must_use]
    pub const fn new(good: u64, bad: u64) -> Self {
        Self { good, bad }
    }

    /// Counts an event.
    pub fn count(&mut self, signals: &EventFilter, kind: &HealthEventKind) {
        match signals.read(kind) {
            EventOutcome::Good => self.good = self.good.saturating_add(1),
            EventOutcome::Bad => self.bad = self.bad.saturating_add(1),
            EventOutcome::Neutral => {}
        }
    }

    /// Returns the number of events.
    #[must_use]
    pub const fn volume(&self) -> u64 {
        self.good.saturating_add(self.bad)
    }

    /// Returns the share of good events, from 0 to 1; 1 without events.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // counts stay below 2^53
    pub fn success(&self) -> f64 {
        match self.volume() {
            0 => 1.0,
            volume => self.good as f64 / volume as f64,
        }
    }
}

impl Outlier {
    /// Creates an outlier with a human-readable cause.
    #[must_use]
    pub fn new(index: usize, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        Self { index, cause }
    }
}

/// Success-rate outlier policy: ejects upstreams whose success rate is far below the mean, by a
/// number of standard deviations and by a minimum gap.
///
/// Only upstreams with a minimum of events are compared, and only if there are enough of them. When
/// all fail together, none is an outlier.
///
/// # Defaults
///
/// | method | default | unit | why | Envoy |
/// |---|---|---|---|---|
/// | [`every`](Self::every) | 10 | seconds | Envoy's default | `interval` |
/// | [`deviations`](Self::deviations) | 1.9 | standard deviations | Envoy's default | `success_rate_stdev_factor` |
/// | [`min_gap`](Self::min_gap) | 0.05 | share | a few failures are normal | |
/// | [`minimum_upstreams`](Self::minimum_upstreams) | 5 | upstreams | a mean needs several | `success_rate_minimum_hosts` |
/// | [`minimum_volume`](Self::minimum_volume) | 100 | events | a rate needs many | `success_rate_request_volume` |
/// | [`counting`](Self::counting) | [`EventFilter::handshakes`] | | independent of probes | |
///
/// A single bad upstream among n lies at most √(n − 1) deviations below the mean, so with more than
/// 2 deviations a pool of 5 never has an outlier.
///
/// # Examples
///
/// ```
/// use wsplice::health::outlier::{SuccessRateOutliers, OutlierPolicy, EventCounts};
///
/// let good = EventCounts::new(198, 2);
/// let outliers = SuccessRateOutliers::new().outliers(&[good, good, EventCounts::new(120, 80), good, good]);
/// assert_eq!(outliers[0].index, 2);
/// assert_eq!(outliers[0].cause, "60.0% success, where the pool has 91.2% on average");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SuccessRateOutliers {
    interval: Duration,
    deviations: f64,
    min_gap: f64,
    hosts: usize,
    volume: u64,
    signals: EventFilter,
}

impl SuccessRateOutliers {
    /// Returns settings with the defaults above.
    pub const fn new() -> Self {
        Self {
            interval: Duration::from_secs(10),
            deviations: 1.9,
            min_gap: 0.05,
            hosts: 5,
            volume: 100,
            signals: EventFilter::handshakes(),
        }
    }

    /// Sets the time between two comparisons.
    pub const fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets the number of standard deviations below the mean from which an upstream is an outlier.
    pub const fn deviations(mut self, deviations: f64) -> Self {
        self.deviations = deviations;
        self
    }

    /// Sets the minimum distance of an outlier from the mean, from 0 to 1. If all rates are close
    /// together, the deviation alone would single out an upstream with a handful of failures.
    pub const fn min_gap(mut self, gap: f64) -> Self {
        self.min_gap = gap;
        self
    }

    /// Sets the number of upstreams that must have the volume for a comparison.
    pub const fn minimum_upstreams(mut self, upstreams: usize) -> Self {
        self.hosts = upstreams;
        self
    }

    /// Sets the number of events within the interval that an upstream needs to be compared.
    pub const fn minimum_volume(mut self, events: u64) -> Self {
        self.volume = events;
        self
    }

    /// Sets the events that count.
    pub const fn counting(mut self, signals: EventFilter) -> Self {
        self.signals = signals;
        self
    }
}

impl Default for SuccessRateOutliers {
    fn default() -> Self {
        Self::new()
    }
}

impl OutlierPolicy for SuccessRateOutliers {
    fn interval(&self) -> Duration {
        self.interval
    }

    fn counted_events(&self) -> EventFilter {
        self.signals
    }

    #[allow(clippy::cast_precision_loss)] // pools stay below 2^53
    fn outliers(&self, pool: &[EventCounts]) -> Vec<Outlier> {
        let rates: Vec<_> = pool
            .iter()
            .enumerate()
            .filter(|(_, counts)| counts.volume() >= self.volume.max(1))
            .map(|(index, counts)| (index, counts.success()))
            .collect();
        if rates.len() < self.hosts.max(2) {
            return Vec::new();
        }
        let count = rates.len() as f64;
        let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
        let square = |(_, rate): &(usize, f64)| (rate - mean).powi(2);
        let deviation = (rates.iter().map(square).sum::<f64>() / count).sqrt();
        let gap = (self.deviations * deviation).max(self.min_gap);
        let is_below = |(_, rate): &&(usize, f64)| *rate < mean - gap;
        rates
            .iter()
            .filter(is_below)
            .map(|(index, rate)| {
                let (rate, mean) = (rate * 100.0, mean * 100.0);
                let cause = format!("{rate:.1}% success, where the pool has {mean:.1}% on average");
                Outlier::new(*index, cause)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::health::testing::{accepted, connect_failed, probe_failed};

    const GOOD: EventCounts = EventCounts::new(100, 0);
    const HALF: EventCounts = EventCounts::new(50, 50);

    fn indices(policy: &SuccessRateOutliers, pool: &[EventCounts]) -> Vec<usize> {
        let outliers = policy.outliers(pool);
        outliers.iter().map(|outlying| outlying.index).collect()
    }

    #[test]
    fn one_failing_upstream_among_five_is_an_outlier() {
        let pool = [GOOD, HALF, GOOD, GOOD, GOOD];
        assert_eq!(indices(&SuccessRateOutliers::new(), &pool), [1]);
    }

    #[test]
    fn when_all_fail_alike_none_is_an_outlier() {
        assert!(indices(&SuccessRateOutliers::new(), &[HALF; 6]).is_empty());
        assert!(indices(&SuccessRateOutliers::new(), &[EventCounts::new(0, 500); 6]).is_empty());
    }

    #[test]
    fn small_pools_and_quiet_upstreams_are_not_compared() {
        assert!(indices(&SuccessRateOutliers::new(), &[GOOD, GOOD, GOOD, HALF]).is_empty());
        let quiet = EventCounts::new(0, 99);
        assert!(
            indices(
                &SuccessRateOutliers::new(),
                &[GOOD, GOOD, GOOD, GOOD, GOOD, quiet]
            )
            .is_empty()
        );
        assert!(indices(&SuccessRateOutliers::new(), &[]).is_empty());
        let lax = SuccessRateOutliers::new()
            .minimum_upstreams(0)
            .minimum_volume(0);
        assert!(indices(&lax, &[EventCounts::default(); 4]).is_empty());
    }

    #[test]
    fn a_handful_of_failures_is_within_the_least_gap() {
        let nearly = EventCounts::new(98, 2);
        let pool = [GOOD, nearly, GOOD, GOOD, GOOD, GOOD];
        assert!(indices(&SuccessRateOutliers::new(), &pool).is_empty());
        assert_eq!(
            indices(&SuccessRateOutliers::new().min_gap(0.0), &pool),
            [1]
        );
    }

    #[test]
    fn the_policy_chooses_the_events_that_count() {
        let signals = SuccessRateOutliers::new().counted_events();
        let mut counts = EventCounts::default();
        for kind in [accepted(), connect_failed(), probe_failed()] {
            counts.count(&signals, &kind);
        }
        assert_eq!(counts, EventCounts::new(1, 1));
    }

    #[test]
    fn the_gap_itself_is_not_below_it() {
        let policy = |deviations| {
            let policy = SuccessRateOutliers::new().minimum_upstreams(2);
            policy.min_gap(0.0).deviations(deviations)
        };
        let pool = [GOOD, HALF];
        assert!(indices(&policy(1.0), &pool).is_empty());
        assert_eq!(indices(&policy(0.9), &pool), [1]);
    }

    #[test]
    fn a_policy_of_the_host_counts_handshakes_by_default() {
        struct Never;
        impl OutlierPolicy for Never {
            fn interval(&self) -> Duration {
                Duration::MAX
            }
            fn outliers(&self, _: &[EventCounts]) -> Vec<Outlier> {
                Vec::new()
            }
        }
        assert_eq!(Never.counted_events(), EventFilter::handshakes());
        let policy: &dyn OutlierPolicy = &Never;
        assert_eq!(format!("{policy:?}"), "OutlierPolicy");
    }
}

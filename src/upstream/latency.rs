//! Estimate of an upstream's latency. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Time constant of the estimate.
const DECAY: Duration = Duration::from_secs(10);

/// Peak-sensitive moving average of an upstream's latency, as in Finagle, linkerd and tower.
///
/// A sample above the average replaces it at once; one below moves it by as much as the time since
/// the last sample is worth. Between samples the average decays towards zero, so that an upstream
/// that was slow once is tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeakLatency {
    seconds: f64,
    sampled_at: Instant,
}

impl PeakLatency {
    pub(crate) const fn new(sample: Duration, now: Instant) -> Self {
        Self {
            seconds: sample.as_secs_f64(),
            sampled_at: now,
        }
    }

    pub(crate) fn sample(&mut self, sample: Duration, now: Instant) {
        let sample = sample.as_secs_f64();
        let kept = self.kept(now);
        self.seconds = if sample > self.seconds * kept {
            sample
        } else {
            self.seconds * kept + sample * (1.0 - kept)
        };
        self.sampled_at = now;
    }

    /// Returns the average at the last sample.
    pub(crate) fn average(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::MAX)
    }

    /// Returns the average, decayed since the last sample.
    pub(crate) fn estimate(&self, now: Instant) -> Duration {
        self.average().mul_f64(self.kept(now))
    }

    /// Returns the share of the average that is left by now.
    fn kept(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.sampled_at);
        (-elapsed.as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_peak_counts_at_once_and_fades_with_time() {
        let began = Instant::now();
        let mut latency = PeakLatency::new(millis(10), began);
        latency.sample(millis(500), began);
        assert_eq!(latency.average(), millis(500));
        let later = began + DECAY;
        let estimate = latency.estimate(later);
        assert!(
            estimate > millis(183) && estimate < millis(185),
            "{estimate:?}"
        );
        latency.sample(millis(10), later);
        let average = latency.average();
        assert!(
            average > millis(189) && average < millis(191),
            "{average:?}"
        );
        assert!(latency.estimate(later + 20 * DECAY) < millis(1));
    }

    #[test]
    fn no_sample_overflows() {
        let now = Instant::now();
        let mut latency = PeakLatency::new(Duration::MAX, now);
        latency.sample(Duration::MAX, now);
        assert!(latency.average() >= Duration::from_secs(1 << 60));
        latency.sample(Duration::ZERO, now + Duration::from_secs(1 << 30));
        assert_eq!(latency.average(), Duration::ZERO);
    }
}

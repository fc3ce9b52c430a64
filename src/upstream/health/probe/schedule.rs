//! Probe schedule.

use std::time::Duration;

use crate::{
    instant::FAR,
    upstream::health::{ejection::jittered, health_state::HealthState},
};

/// Time that each of many upstreams adds to the time over which their first probes are spread.
const FIRST_PROBE_SHARE: Duration = Duration::from_millis(10);

/// Probe schedule: the interval, timeout and concurrency of a pool's probes.
///
/// # Defaults
///
/// | method | default | unit | why | Envoy | HAProxy |
/// |---|---|---|---|---|---|
/// | [`every`](Self::every) | 10 | seconds | cheap enough for any upstream | `interval` | `inter` |
/// | [`while_unhealthy`](Self::while_unhealthy) | 2 | seconds | a recovery is noticed soon | `unhealthy_interval` | `downinter` |
/// | [`jitter`](Self::jitter) | 0.1 | share | probes are spread over time | `interval_jitter_percent` | `spread-checks` |
/// | [`timeout`](Self::timeout) | 5 | seconds | an upstream this slow is unusable | `timeout` | `timeout check` |
/// | [`max_concurrent`](Self::max_concurrent) | 64 | probes | bounds the file descriptors | | |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::health::probe::ProbeSchedule;
///
/// let schedule = ProbeSchedule::every(Duration::from_secs(30))
///     .while_unhealthy(Duration::from_secs(3))
///     .timeout(Duration::from_secs(2));
/// # let _ = schedule;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ProbeSchedule {
    interval: Duration,
    while_unhealthy: Duration,
    jitter: f64,
    timeout: Duration,
    max_concurrent: usize,
}

impl ProbeSchedule {
    /// Creates a schedule with this interval, measured from start to start; at least a millisecond.
    ///
    /// While an upstream is unhealthy the interval is 2 seconds, or this one if it is shorter.
    pub const fn every(interval: Duration) -> Self {
        Self {
            interval,
            while_unhealthy: Duration::from_secs(2),
            jitter: 0.1,
            timeout: Duration::from_secs(5),
            max_concurrent: 64,
        }
    }

    /// Sets the interval while an upstream is unhealthy, so that it is not ejected for longer than
    /// necessary. The shorter of both intervals applies then.
    pub const fn while_unhealthy(mut self, interval: Duration) -> Self {
        self.while_unhealthy = interval;
        self
    }

    /// Sets the share by which an interval may be shorter or longer, from 0 to 1, so that the
    /// upstreams of a pool are not all probed at once.
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Sets the maximum duration of a whole probe.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the maximum number of a pool's probes under way at once; 0 counts as 1.
    ///
    /// The first probes of as many upstreams that join together are due at once. The first probes of
    /// more are spread over 10 ms for each, but over no more than the interval.
    ///
    /// Beyond that the most overdue probe goes first, so that probes which hang delay the others
    /// but never starve them. Where many may hang at once, set a short timeout, or a higher
    /// maximum.
    pub const fn max_concurrent(mut self, probes: usize) -> Self {
        self.max_concurrent = probes;
        self
    }

    /// Returns the maximum number of probes under way at once.
    pub(crate) fn concurrency_limit(&self) -> usize {
        self.max_concurrent.max(1)
    }

    /// Returns the maximum duration of a whole probe.
    #[must_use]
    pub(crate) const fn probe_timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the delay of the first probe of an upstream that joins with others, of which there are
    /// `joined` in all. `random` returns a number from 0 to 1.
    ///
    /// As many as may be probed at once are not put off. The first probes of more are spread, at a
    /// hundred a second, but over no more than the interval.
    pub(crate) fn first_delay(
        &self,
        joined: usize,
        state: &HealthState,
        random: impl FnOnce() -> f64,
    ) -> Duration {
        if joined <= self.concurrency_limit() {
            return Duration::ZERO;
        }
        let joined = u32::try_from(joined).unwrap_or(u32::MAX);
        let spread = FIRST_PROBE_SHARE.saturating_mul(joined);
        spread.min(self.interval(state, 0.5)).mul_f64(random())
    }

    pub(super) fn interval(&self, state: &HealthState, random: f64) -> Duration {
        let interval = match state {
            HealthState::Unhealthy { .. } => self.interval.min(self.while_unhealthy),
            _ => self.interval,
        };
        let interval = interval.clamp(Duration::from_millis(1), FAR);
        interval.mul_f64(jittered(self.jitter, random))
    }
}

impl Default for ProbeSchedule {
    fn default() -> Self {
        Self::every(Duration::from_secs(10))
    }
}

//! Default health policy of upstreams without probes.

use std::time::Duration;

use super::{
    combine::AnyOf,
    connects::Connects,
    consecutive::Consecutive,
    failure_rate::FailureRate,
    health_policy::{HealthEvaluator, HealthPolicy},
};
use crate::upstream::health::event_filter::EventFilter;

/// Passive health policy: evaluates clients' handshakes; the default, beside that for probes.
///
/// Unhealthy at once after a failed connect, until one passes, be it a probe's; after 5 consecutive
/// failures; or while more than half of at least 10 handshakes within 10 seconds fail. Failures are
/// failed connects, handshakes that break or time out, and statuses of 500 or above.
///
/// Lost tunnels count only if asked for: some servers end every tunnel without a close frame, and a
/// dead upstream fails the next handshake anyway.
///
/// # Defaults
///
/// | method | default | unit | why | Envoy |
/// |---|---|---|---|---|
/// | [`fails`](Self::fails) | 5 | failures | Envoy's default | `consecutive_5xx` |
/// | [`rate`](Self::rate) | above 0.5 of 10 | share, events | most handshakes fail | `failure_percentage_*` |
/// | [`window`](Self::window) | 10 | seconds | reacts within seconds | `interval` |
/// | [`counting`](Self::counting) | [`EventFilter::handshakes`] | | see above | |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::health::{Passive, EventFilter};
///
/// let policy = Passive::default().fails(3);
/// let with_tunnels = Passive::default()
///     .counting(EventFilter::passive().min_tunnel_age(Duration::from_secs(2)));
/// # let _ = (policy, with_tunnels);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Passive {
    fails: u32,
    share: f64,
    minimum: u32,
    window: Duration,
    signals: EventFilter,
}

impl Passive {
    /// Sets the number of consecutive failures that are too many; 0 counts as 1.
    pub const fn fails(mut self, fails: u32) -> Self {
        self.fails = fails;
        self
    }

    /// Sets the highest healthy share of failures, from 0 to 1, and the number of events from which
    /// it counts.
    pub const fn rate(mut self, share: f64, minimum: u32) -> Self {
        self.share = share;
        self.minimum = minimum;
        self
    }

    /// Sets the length of the window for the share.
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets the events that count.
    pub const fn counting(mut self, signals: EventFilter) -> Self {
        self.signals = signals;
        self
    }
}

impl Default for Passive {
    fn default() -> Self {
        Self {
            fails: 5,
            share: 0.5,
            minimum: 10,
            window: Duration::from_secs(10),
            signals: EventFilter::handshakes(),
        }
    }
}

impl HealthPolicy for Passive {
    fn evaluator(&self) -> Box<dyn HealthEvaluator> {
        let in_a_row = Consecutive::new().fails(self.fails).passes(1);
        let rate = FailureRate::above(self.share)
            .minimum(self.minimum)
            .window(self.window);
        AnyOf::new()
            .with(Connects::default())
            .with(in_a_row.counting(self.signals))
            .with(rate.counting(self.signals))
            .evaluator()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::health::{
        HealthEventKind, Verdict,
        testing::{accepted, at, connect_failed, probe_failed, probe_passed, verdict_after},
    };

    #[test]
    fn five_in_a_row_are_too_many() {
        let mut evaluator = Passive::default().evaluator();
        for _ in 0..4 {
            let verdict = verdict_after(&mut *evaluator, at(0), broken());
            assert_eq!(verdict, Verdict::Healthy);
        }
        let fifth = verdict_after(&mut *evaluator, at(0), broken());
        assert_eq!(fifth, Verdict::Unhealthy);
        assert!(!evaluator.recovers_by_probes());
    }

    #[test]
    fn one_failed_connect_is_too_many_until_a_connect_passes() {
        let mut evaluator = Passive::default().evaluator();
        let failed = verdict_after(&mut *evaluator, at(0), connect_failed());
        assert_eq!(failed, Verdict::Unhealthy);
        assert!(evaluator.recovers_by_probes());
        let passed = verdict_after(&mut *evaluator, at(1), probe_passed());
        assert_eq!(passed, Verdict::Healthy);
    }

    fn broken() -> HealthEventKind {
        HealthEventKind::HandshakeFailed(crate::error::ErrorKind::NoResponse)
    }

    #[test]
    fn two_of_three_are_too_many_once_there_are_ten() {
        let mut evaluator = Passive::default().evaluator();
        let mut verdict = Verdict::Healthy;
        for number in 0..10 {
            assert_eq!(verdict, Verdict::Healthy);
            let kind = if number % 3 == 0 {
                accepted()
            } else {
                broken()
            };
            verdict = verdict_after(&mut *evaluator, at(number * 100), kind);
        }
        assert_eq!(verdict, Verdict::Unhealthy);
    }

    #[test]
    fn a_server_that_ends_every_tunnel_without_a_close_frame_stays_healthy() {
        let mut evaluator = Passive::default().evaluator();
        for number in 0..100 {
            verdict_after(&mut *evaluator, at(number), accepted());
            let lifetime = Duration::from_millis(1);
            let lost = HealthEventKind::TunnelLost { lifetime };
            assert_eq!(
                verdict_after(&mut *evaluator, at(number), lost),
                Verdict::Healthy
            );
            let probe = verdict_after(&mut *evaluator, at(number), probe_failed());
            assert_eq!(probe, Verdict::Healthy);
        }
    }
}

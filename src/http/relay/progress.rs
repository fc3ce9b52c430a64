//! Progress of one party: how long it may do nothing, and how slow it may be.

use std::{num::NonZeroU32, time::Duration};

use tokio::time::Instant;

use crate::instant::saturating_add;

/// Time of waiting over which a minimum rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(60);

/// Limits on the time in which one party is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProgressLimits {
    /// Longest time without progress.
    pub(crate) silence: Option<Duration>,
    /// Lowest rate in bytes per second, while the party is waited for.
    pub(crate) minimum_rate: Option<NonZeroU32>,
}

impl ProgressLimits {
    /// Creates a limit on silence alone. `None` sets no limit.
    pub(crate) fn of_silence(silence: impl Into<Option<Duration>>) -> Self {
        Self {
            silence: silence.into(),
            minimum_rate: None,
        }
    }
}

/// Clock of one party, which runs only while that party is waited for.
#[derive(Debug)]
pub(crate) struct ProgressClock {
    limits: ProgressLimits,
    /// Start of the wait, if the party is waited for now.
    since: Option<Instant>,
    /// Time of waiting and bytes of the current window.
    waited: Duration,
    bytes: u64,
}

/// Limit that a party exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stall {
    /// No progress for this long.
    Silent(Duration),
    /// Less than this many bytes per second.
    Slow(NonZeroU32),
}

impl ProgressClock {
    pub(crate) const fn new(limits: ProgressLimits) -> Self {
        Self {
            limits,
            since: None,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// Starts waiting for the party, unless it is waited for already.
    pub(crate) fn wait(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Ends the wait: the party did its part.
    pub(crate) fn stop(&mut self, now: Instant) {
        let Some(since) = self.since.take() else {
            return;
        };
        self.waited += now.saturating_duration_since(since);
        if self.waited >= RATE_WINDOW {
            self.waited = Duration::ZERO;
            self.bytes = 0;
        }
    }

    /// Ends the measurement of the rate.
    pub(crate) fn ignore_rate(&mut self) {
        self.limits.minimum_rate = None;
    }

    /// Counts bytes that the party sent or took.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// Returns the limit that is exceeded now.
    pub(crate) fn stall(&self, now: Instant) -> Option<Stall> {
        let waited = now.saturating_duration_since(self.since?);
        if let Some(silence) = self.limits.silence.filter(|silence| waited >= *silence) {
            return Some(Stall::Silent(silence));
        }
        let is_late = self.waited + waited >= self.rate_limit();
        self.limits
            .minimum_rate
            .filter(|_| is_late)
            .map(Stall::Slow)
    }

    /// Returns a time at which to look again. No limit is exceeded before it, even if the party is
    /// not waited for now.
    pub(crate) fn next_look(&self, now: Instant) -> Option<Instant> {
        let rate = self.limits.minimum_rate;
        let rate = rate.map(|_| self.rate_limit().saturating_sub(self.waited));
        let limit = match (self.limits.silence, rate) {
            (Some(silence), Some(rate)) => silence.min(rate),
            (silence, rate) => silence.or(rate)?,
        };
        Some(saturating_add(self.since.unwrap_or(now), limit))
    }

    /// Returns the time of waiting, from the start of this window, after which the party is too slow
    /// if it does nothing more: the window itself, or the next one too if the bytes of this one are
    /// enough.
    fn rate_limit(&self) -> Duration {
        let rate = self.limits.minimum_rate.map_or(0, NonZeroU32::get);
        match self.bytes < u64::from(rate) * RATE_WINDOW.as_secs() {
            true => RATE_WINDOW,
            false => 2 * RATE_WINDOW,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn clock(silence: u64, rate: u32) -> ProgressClock {
        ProgressClock::new(ProgressLimits {
            silence: (silence > 0).then(|| secs(silence)),
            minimum_rate: NonZeroU32::new(rate),
        })
    }

    #[test]
    fn silence_counts_from_the_start_of_the_wait() {
        let start = Instant::now();
        let mut clock = clock(60, 0);
        assert_eq!(clock.stall(start + secs(600)), None, "no wait");
        clock.wait(start);
        clock.wait(start + secs(59));
        assert_eq!(clock.stall(start + secs(59)), None);
        assert_eq!(clock.next_look(start), Some(start + secs(60)));
        assert_eq!(clock.stall(start + secs(60)), Some(Stall::Silent(secs(60))));
        clock.stop(start + secs(59));
        clock.wait(start + secs(59));
        assert_eq!(clock.stall(start + secs(118)), None);
    }

    #[test]
    fn one_byte_before_each_silence_ends_is_too_slow() {
        let start = Instant::now();
        let mut clock = clock(60, 10);
        for at in [0, 10, 20] {
            clock.wait(start + secs(at));
            assert_eq!(clock.stall(start + secs(at + 9)), None);
            clock.count(1);
            clock.stop(start + secs(at + 9));
        }
        clock.wait(start + secs(30));
        assert_eq!(clock.stall(start + secs(62)), None, "59 s of waiting");
        assert_eq!(clock.next_look(start), Some(start + secs(63)));
        let slow = NonZeroU32::new(10).map(Stall::Slow);
        assert_eq!(clock.stall(start + secs(63)), slow);
    }

    #[test]
    fn the_rate_is_that_of_each_window() {
        let start = Instant::now();
        let mut clock = clock(0, 10);
        clock.count(600);
        clock.wait(start);
        assert_eq!(clock.stall(start + secs(119)), None, "enough came at first");
        assert_eq!(clock.next_look(start), Some(start + secs(120)));
        clock.stop(start + secs(100));
        clock.wait(start + secs(100));
        assert_eq!(clock.stall(start + secs(159)), None);
        assert!(clock.stall(start + secs(160)).is_some(), "a new window");
    }

    #[test]
    fn a_party_that_does_nothing_for_a_whole_window_is_too_slow_whatever_it_did_before() {
        let start = Instant::now();
        let mut clock = clock(0, 10);
        clock.count(1 << 20);
        clock.wait(start);
        assert_eq!(clock.stall(start + secs(119)), None);
        assert!(clock.stall(start + secs(120)).is_some());
    }

    #[test]
    fn no_limit_is_exceeded_before_the_next_look() {
        let start = Instant::now();
        for (waits_at, bytes) in [(0, 0), (3, 5), (17, 700)] {
            let mut clock = clock(20, 10);
            let look = clock.next_look(start).unwrap();
            clock.count(bytes);
            clock.wait(start + secs(waits_at));
            let just_before = look - Duration::from_millis(1);
            assert_eq!(clock.stall(just_before), None);
        }
        assert_eq!(clock(0, 0).next_look(start), None);
    }
}

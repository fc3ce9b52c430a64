//! Refresh interval of DNS records, and the grace after they are gone. Pure: time and randomness
//! are arguments.

use std::time::Duration;

use tokio::time::Instant;

use crate::instant::FAR;

/// Bounds of the interval between two queries.
#[derive(Clone, Debug)]
pub(super) struct Refresh {
    min: Duration,
    max: Duration,
}

impl Refresh {
    /// Creates an interval within these bounds, whatever the TTL.
    pub(super) fn between(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max: max.max(min),
        }
    }

    pub(super) const fn max(&self) -> Duration {
        self.max
    }

    /// Returns the time until the next query. It is up to a tenth longer than the TTL, since a
    /// cache in between has no new records earlier; `random` is between 0 and 1.
    pub(super) fn delay(&self, ttl: Duration, random: f64) -> Duration {
        let tenth = random.clamp(0.0, 1.0) / 10.0;
        let due = ttl.clamp(self.min, self.max);
        let wait = due.mul_f64(1.0 + tenth);
        match wait > self.max {
            true => self.max.mul_f64(1.0 - tenth).max(self.min),
            false => wait,
        }
    }
}

/// Time for which the last upstreams are kept when DNS has no records.
#[derive(Clone, Debug)]
pub(super) struct EmptyGrace {
    pub(super) duration: Duration,
    empty_since: Option<Instant>,
}

impl EmptyGrace {
    pub(super) const fn new(duration: Duration) -> Self {
        Self {
            duration,
            empty_since: None,
        }
    }

    /// Resets the grace: there are records.
    pub(super) fn reset(&mut self) {
        self.empty_since = None;
    }

    /// Returns the remaining grace when there are no records; zero once it is over.
    pub(super) fn remaining(&mut self, now: Instant) -> Duration {
        let since = *self.empty_since.get_or_insert(now);
        self.duration
            .saturating_sub(now.saturating_duration_since(since))
    }
}

/// Time for which the last upstreams are kept while DNS fails.
#[derive(Clone, Debug, Default)]
pub(super) enum Keep {
    /// There are no upstreams to keep.
    #[default]
    Nothing,
    /// The upstreams are names, which outlive their records: the addresses are looked up at each connect.
    Names,
    /// The upstreams are addresses, which may belong to other servers by then.
    AddressesUntil(Instant),
}

impl Keep {
    /// Returns the time until the next query after a failure, for upstreams that stay for now:
    /// until the recheck, which is up to a tenth later than it may be, or until the end of the
    /// upstreams' time. `None` if there are none, zero if their time is over.
    pub(super) fn recheck(&self, now: Instant, recheck: Duration, random: f64) -> Option<Duration> {
        let tenth = random.clamp(0.0, 1.0) / 10.0;
        let recheck = recheck.min(FAR).mul_f64(1.0 + tenth);
        match self {
            Self::Nothing => None,
            Self::Names => Some(recheck),
            Self::AddressesUntil(end) => Some(recheck.min(end.saturating_duration_since(now))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_wait_is_the_ttl_within_its_bounds_and_never_the_same_for_all() {
        let refresh = Refresh::between(secs(1), secs(300));
        for (ttl, least, most) in [
            (0, 1.0, 1.1),
            (5, 5.0, 5.5),
            (290, 270.0, 300.0),
            (300, 270.0, 300.0),
            (u64::from(u32::MAX), 270.0, 300.0),
        ] {
            for random in [0.0, 0.3, 1.0, 7.0] {
                let wait = refresh.delay(secs(ttl), random).as_secs_f64();
                assert!((least..=most).contains(&wait), "{ttl} {random}: {wait}");
            }
            assert_ne!(
                refresh.delay(secs(ttl), 0.2),
                refresh.delay(secs(ttl), 0.8),
                "{ttl}"
            );
        }
    }

    #[test]
    fn bounds_that_contradict_each_other_are_no_bounds_below_the_soonest() {
        let refresh = Refresh::between(secs(10), secs(1));
        assert_eq!(refresh.delay(secs(5), 0.5), secs(10));
    }

    #[test]
    fn the_grace_begins_with_the_first_empty_result_after_records() {
        let now = Instant::now();
        let mut grace = EmptyGrace::new(secs(30));
        assert_eq!(grace.remaining(now), secs(30));
        assert_eq!(grace.remaining(now + secs(10)), secs(20));
        assert_eq!(grace.remaining(now + secs(40)), Duration::ZERO);
        grace.reset();
        assert_eq!(grace.remaining(now + secs(50)), secs(30));
        assert_eq!(
            EmptyGrace::new(Duration::ZERO).remaining(now),
            Duration::ZERO
        );
        let mut forever = EmptyGrace::new(Duration::MAX);
        forever.remaining(now);
        assert!(forever.remaining(now + secs(1 << 30)) > Duration::ZERO);
    }
    #[test]
    fn upstreams_that_are_addresses_are_kept_for_a_time_and_names_for_ever() {
        let now = Instant::now();
        let until = Keep::AddressesUntil(now + secs(3600));
        for (keep, after, random, expected) in [
            (Keep::Nothing, 0, 0.0, None),
            (Keep::Names, 1 << 30, 0.0, Some(secs(30))),
            (Keep::Names, 0, 1.0, Some(secs(33))),
            (until.clone(), 0, 0.0, Some(secs(30))),
            (until.clone(), 3590, 0.0, Some(secs(10))),
            (until.clone(), 3600, 0.0, Some(Duration::ZERO)),
            (until, 9999, 1.0, Some(Duration::ZERO)),
        ] {
            let next = keep.recheck(now + secs(after), secs(30), random);
            assert_eq!(next, expected, "{keep:?} after {after} s");
        }
    }
}

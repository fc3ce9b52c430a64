//! Refresh interval of DNS records, and the grace after they are gone. Pure: time and randomness
//! are arguments.

use std::time::Duration;

use tokio::time::Instant;

/// Bounds of the interval between two queries.
#[derive(Clone, Debug)]
pub(super) struct Refresh {
    soonest: Duration,
    latest: Duration,
}

impl Refresh {
    /// Creates an interval within these bounds, whatever the TTL.
    pub(super) fn between(soonest: Duration, latest: Duration) -> Self {
        Self {
            soonest,
            latest: latest.max(soonest),
        }
    }

    pub(super) const fn latest(&self) -> Duration {
        self.latest
    }

    /// Returns the time until the next query. It is up to a tenth longer than the TTL, since a
    /// cache in between has no new records earlier; `random` is between 0 and 1.
    pub(super) fn wait(&self, ttl: Duration, dice: f64) -> Duration {
        let tenth = dice.clamp(0.0, 1.0) / 10.0;
        let due = ttl.clamp(self.soonest, self.latest);
        let wait = due.mul_f64(1.0 + tenth);
        match wait > self.latest {
            true => self.latest.mul_f64(1.0 - tenth).max(self.soonest),
            false => wait,
        }
    }
}

/// Time for which the last upstreams are kept when DNS has no records.
#[derive(Clone, Debug)]
pub(super) struct Grace {
    pub(super) lasts: Duration,
    empty_since: Option<Instant>,
}

impl Grace {
    pub(super) const fn of(lasts: Duration) -> Self {
        Self {
            lasts,
            empty_since: None,
        }
    }

    /// Resets the grace: there are records.
    pub(super) fn found(&mut self) {
        self.empty_since = None;
    }

    /// Returns the remaining grace when there are no records; zero once it is over.
    pub(super) fn empty(&mut self, now: Instant) -> Duration {
        let since = *self.empty_since.get_or_insert(now);
        self.lasts
            .saturating_sub(now.saturating_duration_since(since))
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
            for dice in [0.0, 0.3, 1.0, 7.0] {
                let wait = refresh.wait(secs(ttl), dice).as_secs_f64();
                assert!((least..=most).contains(&wait), "{ttl} {dice}: {wait}");
            }
            assert_ne!(
                refresh.wait(secs(ttl), 0.2),
                refresh.wait(secs(ttl), 0.8),
                "{ttl}"
            );
        }
    }

    #[test]
    fn bounds_that_contradict_each_other_are_no_bounds_below_the_soonest() {
        let refresh = Refresh::between(secs(10), secs(1));
        assert_eq!(refresh.wait(secs(5), 0.5), secs(10));
    }

    #[test]
    fn the_grace_begins_with_the_first_empty_answer_after_a_good_one() {
        let now = Instant::now();
        let mut grace = Grace::of(secs(30));
        assert_eq!(grace.empty(now), secs(30));
        assert_eq!(grace.empty(now + secs(10)), secs(20));
        assert_eq!(grace.empty(now + secs(40)), Duration::ZERO);
        grace.found();
        assert_eq!(grace.empty(now + secs(50)), secs(30));
        assert_eq!(Grace::of(Duration::ZERO).empty(now), Duration::ZERO);
        let mut forever = Grace::of(Duration::MAX);
        forever.empty(now);
        assert!(forever.empty(now + secs(1 << 30)) > Duration::ZERO);
    }
}

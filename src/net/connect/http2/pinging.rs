//! Liveness checks of a connection by PING. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::instant::saturating_add;

/// PING schedule of a connection (RFC 9113 §6.7).
#[derive(Debug)]
pub(super) struct Pinging {
    interval: Option<Duration>,
    timeout: Duration,
    next: Next,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    /// No PING is ever sent.
    Never,
    Ping(Instant),
    /// A PING is out, and must be answered until then.
    Answer(Instant),
}

/// The action that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Ping,
    /// The PING was not answered in time.
    Dead,
}

impl Pinging {
    pub(super) fn new(interval: Option<Duration>, timeout: Duration, now: Instant) -> Self {
        let mut pinging = Self {
            interval,
            timeout,
            next: Next::Never,
        };
        pinging.answered(now);
        pinging
    }

    /// Returns the action that is due now. A PING that is due counts as sent.
    pub(super) fn tick(&mut self, now: Instant) -> Due {
        match self.next {
            // Ping => Answer
            Next::Ping(at) if at <= now => {
                self.next = Next::Answer(saturating_add(now, self.timeout));
                Due::Ping
            }
            Next::Answer(until) if until <= now => Due::Dead,
            Next::Never | Next::Ping(_) | Next::Answer(_) => Due::Nothing,
        }
    }

    /// Notes that the PING was answered.
    pub(super) fn answered(&mut self, now: Instant) {
        self.next = match self.interval {
            Some(interval) => Next::Ping(saturating_add(now, interval)),
            None => Next::Never,
        };
    }

    /// The instant of the next action.
    pub(super) const fn due(&self) -> Option<Instant> {
        match self.next {
            Next::Never => None,
            Next::Ping(at) | Next::Answer(at) => Some(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_connection_that_answers_is_asked_again_after_the_interval() {
        let start = Instant::now();
        let mut pinging = Pinging::new(Some(30 * SECOND), 10 * SECOND, start);
        assert_eq!(pinging.due(), Some(start + 30 * SECOND));
        assert_eq!(pinging.tick(start + 29 * SECOND), Due::Nothing);
        assert_eq!(pinging.tick(start + 30 * SECOND), Due::Ping);
        assert_eq!(pinging.due(), Some(start + 40 * SECOND));
        pinging.answered(start + 39 * SECOND);
        assert_eq!(pinging.tick(start + 40 * SECOND), Due::Nothing);
        assert_eq!(pinging.due(), Some(start + 69 * SECOND));
    }

    #[test]
    fn one_that_does_not_answer_in_time_is_dead() {
        let start = Instant::now();
        let mut pinging = Pinging::new(Some(30 * SECOND), 10 * SECOND, start);
        assert_eq!(pinging.tick(start + 31 * SECOND), Due::Ping);
        assert_eq!(pinging.tick(start + 40 * SECOND), Due::Nothing);
        assert_eq!(pinging.tick(start + 41 * SECOND), Due::Dead);
    }

    #[test]
    fn without_an_interval_nothing_is_asked() {
        let start = Instant::now();
        let mut pinging = Pinging::new(None, SECOND, start);
        assert_eq!(pinging.due(), None);
        assert_eq!(pinging.tick(start + 3600 * SECOND), Due::Nothing);
    }
}

//! Effects of an incident on a fleet.

use std::time::Duration;

use super::{
    board::Events,
    fleet::{Fleet, Plan, Reattachment},
    scenario::{Incident, Scenario},
};

/// One incident of a fleet, and its effects.
#[derive(Clone, Debug)]
pub(crate) struct Episode {
    pub(crate) incident: Incident,
    pub(crate) plan: Plan,
    pub(crate) scenario: Scenario,
    /// For each proxy and each upstream that was affected: how long until it was unhealthy there.
    pub(crate) noticed: Vec<Option<Duration>>,
    /// Upstreams that were called unhealthy and were not.
    pub(crate) false_alarms: Vec<String>,
    pub(crate) events: Events,
    /// Clients' handshakes within any one second: the most on one upstream that was not affected.
    pub(crate) peak: usize,
    /// Samples by second since the start.
    pub(crate) samples: Vec<Sample>,
    /// End of the incident, in seconds since it began.
    pub(crate) repaired: usize,
    /// Upstreams that a proxy does not use although the incident is over.
    pub(crate) left_out: usize,
    /// Times without an upstream of tunnels that got another one.
    pub(crate) gaps: Vec<Duration>,
    /// Clients' handshakes on all upstreams together.
    pub(crate) total: Rate,
}

/// Handshakes of all upstreams.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    /// The most within any one second.
    pub(crate) peak: usize,
    /// The average in a second of the incident.
    pub(crate) mean: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Clients that are not served.
    pub(crate) unserved: usize,
    /// Tunnels by weight of the fullest upstream that is up, over the mean.
    pub(crate) imbalance: f64,
}

impl Sample {
    pub(crate) fn of(fleet: &Fleet) -> Self {
        let shares = fleet.shares();
        let most = shares.iter().copied().fold(0.0, f64::max);
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        Self {
            unserved: fleet.unserved(),
            imbalance: most / mean,
        }
    }
}

impl Episode {
    /// The longest time for which a client that wanted a tunnel was without one.
    pub(crate) fn longest_wait(&self) -> Duration {
        self.events.waits.iter().max().copied().unwrap_or_default()
    }

    /// Times without an upstream: of tunnels that lived on, or without reattachment of clients that lost
    /// theirs; in ascending order.
    pub(crate) fn times_without(&self) -> Vec<Duration> {
        let mut times = match self.plan.reattachment {
            Reattachment::Off => self.events.outages.clone(),
            _ => self.gaps.clone(),
        };
        times.sort_unstable();
        times
    }

    /// The most clients that were not served at once.
    pub(crate) fn most_unserved(&self) -> usize {
        self.samples
            .iter()
            .map(|sample| sample.unserved)
            .max()
            .unwrap_or_default()
    }

    pub(crate) fn last(&self) -> Sample {
        *self.samples.last().expect("it took a while")
    }

    /// Seconds from the end of the incident until the fullest has for good at most this share of the
    /// mean.
    pub(crate) fn even_after(&self, imbalance: f64) -> Option<usize> {
        let uneven = self
            .samples
            .iter()
            .rposition(|sample| sample.imbalance > imbalance);
        let even = uneven.map_or(0, |second| second + 1);
        (even < self.samples.len()).then(|| even.saturating_sub(self.repaired))
    }
}

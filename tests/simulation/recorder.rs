//! Recorder of a fleet's episodes.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};
use wsplice::health::HealthTransition;

use super::{
    episode::{Episode, Rate, Sample},
    fleet::Fleet,
    proxy::{PROBE_TIMEOUT, Proxy},
    scenario::{Incident, Scenario, secs},
    upstream::Upstream,
};

/// The default of the layer, and the time until the failure is recorded.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(11);

/// Recorder of one episode: samples the fleet each second while an incident lasts.
pub(crate) struct EpisodeRecorder<'a> {
    incident: Incident,
    pub(crate) fleet: &'a Fleet,
    scenario: Scenario,
    began: Instant,
    affected: Range<usize>,
    samples: Vec<Sample>,
    repaired: usize,
}

impl<'a> EpisodeRecorder<'a> {
    pub(crate) fn begin(fleet: &'a Fleet, scenario: Scenario, incident: Incident) -> Self {
        drop(fleet.board.take_events());
        Self {
            incident,
            fleet,
            scenario,
            began: Instant::now(),
            affected: incident.affected_upstreams(fleet.upstreams.len()),
            samples: Vec::new(),
            repaired: 0,
        }
    }

    pub(crate) async fn during(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            sleep_until((Instant::now() + secs(1)).min(until)).await;
            self.samples.push(Sample::of(self.fleet));
        }
    }

    /// Ends the incident, and records while the proxies notice it, and while the load evens out where
    /// the scenario compares the load: for `settles`.
    pub(crate) async fn repaired(&mut self, settles: Duration) {
        self.repaired = self.samples.len();
        self.during(match self.scenario {
            Scenario::Failures | Scenario::Deploy => secs(20),
            // The heaviest have the most to regain.
            Scenario::Shares => settles * 2,
            _ => settles,
        })
        .await;
    }

    pub(crate) fn affected(&self) -> &'a [Arc<Upstream>] {
        &self.fleet.upstreams[self.affected.clone()]
    }

    pub(crate) fn end(self) -> Episode {
        Episode {
            incident: self.incident,
            plan: self.fleet.plan,
            scenario: self.scenario,
            noticed: self.noticed(),
            false_alarms: self.false_alarms(),
            peak: self.peak(),
            left_out: self.left_out(),
            gaps: self.gaps(),
            total: self.total(),
            events: self.fleet.board.take_events(),
            samples: self.samples,
            repaired: self.repaired,
        }
    }

    fn noticed(&self) -> Vec<Option<Duration>> {
        let mut noticed = Vec::new();
        for proxy in &self.fleet.proxies {
            let mut fell = BTreeMap::new();
            for notice in proxy.changes_since(self.began) {
                if let HealthTransition::Unhealthy { .. } = notice.transition {
                    fell.entry(notice.upstream)
                        .or_insert(notice.at - self.began);
                }
            }
            let affected = &self.fleet.upstreams[self.affected.clone()];
            noticed.extend(
                affected
                    .iter()
                    .map(|affected| fell.get(&affected.name()).copied()),
            );
        }
        noticed
    }

    fn false_alarms(&self) -> Vec<String> {
        let mut false_alarms = Vec::new();
        for notice in self
            .fleet
            .proxies
            .iter()
            .flat_map(|proxy| proxy.changes_since(self.began))
        {
            let upstream = self
                .fleet
                .upstreams
                .iter()
                .find(|upstream| upstream.name() == notice.upstream);
            // A handshake or a probe that began before may fail until now.
            let since = match self.incident {
                Incident::BlackHole => HANDSHAKE_TIMEOUT,
                _ => PROBE_TIMEOUT,
            };
            let was_up = upstream.is_none_or(|upstream| upstream.was_up(notice.at, since));
            if matches!(notice.transition, HealthTransition::Unhealthy { .. }) && was_up {
                false_alarms.push(format!("{}: {}", notice.upstream, notice.transition));
            }
        }
        false_alarms
    }

    fn peak(&self) -> usize {
        let all_are_struck = self.affected.len() == self.fleet.upstreams.len();
        let counted = self
            .fleet
            .upstreams
            .iter()
            .filter(|upstream| all_are_struck || !self.affected.contains(&upstream.number));
        let peaks =
            counted.map(|upstream| most_in_a_second(&upstream.handshakes_since(self.began)));
        peaks.max().unwrap_or_default()
    }

    fn gaps(&self) -> Vec<Duration> {
        let proxies = self.fleet.proxies.iter();
        proxies
            .flat_map(|proxy| proxy.gaps_since(self.began))
            .collect()
    }

    fn total(&self) -> Rate {
        let upstreams = self.fleet.upstreams.iter();
        let end = self.began + secs(self.repaired as u64);
        let mut moments: Vec<_> = upstreams
            .flat_map(|upstream| upstream.handshakes_since(self.began))
            .filter(|at| *at < end)
            .collect();
        moments.sort_unstable();
        Rate {
            peak: most_in_a_second(&moments),
            mean: moments.len() as f64 / self.repaired.max(1) as f64,
        }
    }

    fn left_out(&self) -> usize {
        let rows = self.fleet.proxies.iter().flat_map(Proxy::snapshot);
        rows.filter(|row| !row.health.is_usable()).count()
    }
}

fn most_in_a_second(moments: &[Instant]) -> usize {
    let within = |from: usize| {
        let end = moments[from] + secs(1);
        moments[from..].partition_point(|at| *at < end)
    };
    (0..moments.len()).map(within).max().unwrap_or_default()
}

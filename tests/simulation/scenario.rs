//! Scenarios: series of incidents that a fleet goes through.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};
use wsplice::health::HealthTransition;

use super::{
    board::Events,
    client::poison,
    fleet::{ARRIVALS, Fleet, Plan, Reattachment},
    proxy::PROBE_TIMEOUT,
    upstream::{Fault, Upstream},
};

/// The default of the layer, and the time until the failure is recorded.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(11);

/// Time over which the tunnels of an upstream are moved before its restart.
const MOVES: Duration = Duration::from_secs(15);

/// Kind of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Incident {
    Nothing,
    /// One upstream is cut off from the proxies.
    CutOff,
    /// A quarter of the upstreams are killed at once.
    Killed,
    /// All upstreams are restarted, one after the other.
    Restarted,
    /// One upstream passes its probes and answers clients 502.
    Deceives,
    /// No proxy has a port left for new connections to one upstream.
    NoPorts,
    /// One client asks every second for a path that no upstream survives.
    PoisonByOne,
    /// Fifty clients do, as often as pages reconnect.
    PoisonByMany,
    /// One upstream accepts connections, and responds to nothing.
    BlackHole,
    /// DNS fails, and every connect needs it.
    DnsOutage,
}

/// The scenario of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    Whole,
    /// When many clients lose their tunnels at once.
    Storms,
    /// Incidents that must be detected; the balance after them is left to the other scenario.
    Failures,
    /// Incidents whose blame is easily misplaced.
    Blame,
    /// A black hole alone.
    HalfOpen,
    /// Upstreams of different weights.
    Shares,
    /// Upstreams that are found and reached by DNS.
    Names,
    /// A rolling restart alone.
    Deploy,
}

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

/// Watches one episode.
struct EpisodeRecorder<'a> {
    incident: Incident,
    fleet: &'a Fleet,
    scenario: Scenario,
    began: Instant,
    affected: Range<usize>,
    samples: Vec<Sample>,
    repaired: usize,
}

/// Starts a fleet and goes through its scenario.
pub(crate) async fn run(plan: Plan, scenario: Scenario) -> Vec<Episode> {
    let fleet = Fleet::start(plan);
    sleep(ARRIVALS + secs(10)).await;
    let mut episodes = Vec::new();
    for incident in scenario.episodes() {
        let recorder = EpisodeRecorder::begin(&fleet, scenario, *incident);
        episodes.push(match incident {
            Incident::Nothing => steady(recorder).await,
            Incident::CutOff => cut_off(recorder).await,
            Incident::Killed => kill(recorder).await,
            Incident::Restarted => restart(recorder).await,
            Incident::Deceives => fault(recorder, Fault::Deceives).await,
            Incident::BlackHole => fault(recorder, Fault::Hangs).await,
            Incident::NoPorts => exhaust_ports(recorder).await,
            Incident::DnsOutage => fail_dns(recorder, &fleet).await,
            Incident::PoisonByOne => poison_by(recorder, &fleet, 1, 0).await,
            Incident::PoisonByMany => poison_by(recorder, &fleet, 50, 5).await,
        });
    }
    episodes
}

async fn steady(mut recorder: EpisodeRecorder<'_>) -> Episode {
    recorder.during(secs(20)).await;
    recorder.end()
}

/// Cuts upstreams off, and reconnects them after a while.
async fn cut_off(mut recorder: EpisodeRecorder<'_>) -> Episode {
    for upstream in recorder.affected() {
        upstream.cut_off();
    }
    recorder.during(secs(50)).await;
    for upstream in recorder.affected() {
        upstream.reconnect();
    }
    recorder.repaired(secs(20)).await;
    recorder.end()
}

/// Kills upstreams all at once; after a while they come back together.
async fn kill(mut recorder: EpisodeRecorder<'_>) -> Episode {
    for upstream in recorder.affected() {
        upstream.kill();
    }
    recorder.during(secs(45)).await;
    for upstream in recorder.affected() {
        upstream.start();
    }
    recorder.repaired(secs(120)).await;
    recorder.end()
}

/// Restarts upstreams one after the other.
async fn restart(mut recorder: EpisodeRecorder<'_>) -> Episode {
    let moves = recorder.fleet.plan.reattachment == Reattachment::Moves;
    for upstream in recorder.affected() {
        if moves {
            for proxy in &recorder.fleet.proxies {
                proxy.drain(&upstream.name(), MOVES);
            }
            recorder.during(MOVES + secs(1)).await;
        }
        let restarted = tokio::spawn(restarted(Arc::clone(upstream)));
        recorder.during(secs(6)).await;
        restarted.await.expect("it does not panic");
        if moves {
            for proxy in &recorder.fleet.proxies {
                proxy.resume(&upstream.name());
            }
        }
    }
    recorder.repaired(secs(120)).await;
    recorder.end()
}

/// Lets upstreams fail new handshakes for a while.
async fn fault(mut recorder: EpisodeRecorder<'_>, fault: Fault) -> Episode {
    for upstream in recorder.affected() {
        upstream.fail(fault);
    }
    recorder.during(secs(60)).await;
    for upstream in recorder.affected() {
        upstream.recover();
    }
    recorder.repaired(secs(90)).await;
    recorder.end()
}

async fn exhaust_ports(mut recorder: EpisodeRecorder<'_>) -> Episode {
    for upstream in recorder.affected() {
        upstream.exhaust_ports();
    }
    recorder.during(secs(60)).await;
    for upstream in recorder.affected() {
        upstream.free_ports();
    }
    recorder.repaired(secs(60)).await;
    recorder.end()
}

/// Lets DNS fail for twice as long as its records are valid.
async fn fail_dns(mut recorder: EpisodeRecorder<'_>, fleet: &Fleet) -> Episode {
    fleet.dns.fail();
    recorder.during(secs(60)).await;
    fleet.dns.recover();
    recorder.repaired(secs(60)).await;
    recorder.end()
}

async fn poison_by(
    mut recorder: EpisodeRecorder<'_>,
    fleet: &Arc<Fleet>,
    clients: usize,
    most_patience: u32,
) -> Episode {
    // Their addresses are those of no other client.
    let clients = fleet.plan.clients..fleet.plan.clients + clients;
    let poisoners: Vec<_> = clients
        .map(|client| tokio::spawn(poison(Arc::clone(fleet), client, most_patience)))
        .collect();
    recorder.during(secs(60)).await;
    for poisoner in &poisoners {
        poisoner.abort();
    }
    recorder.repaired(secs(20)).await;
    recorder.end()
}

async fn restarted(upstream: Arc<Upstream>) {
    upstream.stop().await;
    sleep(secs(2)).await;
    upstream.start();
}

impl Incident {
    /// Which of so many upstreams.
    fn affected_upstreams(self, upstreams: usize) -> Range<usize> {
        match self {
            Self::Nothing | Self::PoisonByOne | Self::PoisonByMany | Self::DnsOutage => 0..0,
            Self::CutOff | Self::Deceives | Self::NoPorts | Self::BlackHole => {
                upstreams - 1..upstreams
            }
            Self::Killed => 0..upstreams / 4,
            Self::Restarted => 0..upstreams,
        }
    }
}

impl Scenario {
    const fn episodes(self) -> &'static [Incident] {
        match self {
            Self::Whole => &[
                Incident::Nothing,
                Incident::CutOff,
                Incident::Killed,
                Incident::Restarted,
            ],
            Self::Storms => &[Incident::Nothing, Incident::Killed, Incident::Restarted],
            Self::Failures => &[Incident::CutOff, Incident::Killed],
            Self::Blame => &[
                Incident::Deceives,
                Incident::NoPorts,
                Incident::PoisonByOne,
                Incident::PoisonByMany,
            ],
            Self::HalfOpen => &[Incident::BlackHole],
            Self::Shares => &[Incident::Nothing, Incident::Killed],
            Self::Names => &[Incident::DnsOutage],
            Self::Deploy => &[Incident::Restarted],
        }
    }
}

impl<'a> EpisodeRecorder<'a> {
    fn begin(fleet: &'a Fleet, scenario: Scenario, incident: Incident) -> Self {
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

    async fn during(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            sleep_until((Instant::now() + secs(1)).min(until)).await;
            self.samples.push(Sample::of(self.fleet));
        }
    }

    /// Notes that the incident is over; watches the load balance out for so long, where that is of
    /// interest, and in any case until the proxies have noticed.
    async fn repaired(&mut self, settles: Duration) {
        self.repaired = self.samples.len();
        self.during(match self.scenario {
            Scenario::Failures | Scenario::Deploy => secs(20),
            // The heaviest have the most to regain.
            Scenario::Shares => settles * 2,
            _ => settles,
        })
        .await;
    }

    fn affected(&self) -> &'a [Arc<Upstream>] {
        &self.fleet.upstreams[self.affected.clone()]
    }

    fn end(self) -> Episode {
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
            // What began before may fail until now.
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
        let rows = self
            .fleet
            .proxies
            .iter()
            .flat_map(super::proxy::Proxy::snapshot);
        rows.filter(|row| !row.health.is_usable()).count()
    }
}

impl Sample {
    fn of(fleet: &Fleet) -> Self {
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

fn most_in_a_second(moments: &[Instant]) -> usize {
    let within = |from: usize| {
        let end = moments[from] + secs(1);
        moments[from..].partition_point(|at| *at < end)
    };
    (0..moments.len()).map(within).max().unwrap_or_default()
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

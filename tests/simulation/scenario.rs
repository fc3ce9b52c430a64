//! Scenarios: series of incidents that a fleet goes through.

use std::{ops::Range, sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    client::poison,
    episode::Episode,
    fleet::{ARRIVALS, Fleet, Plan, Reattachment},
    recorder::EpisodeRecorder,
    upstream::{Fault, Upstream},
};

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
    pub(crate) fn affected_upstreams(self, upstreams: usize) -> Range<usize> {
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

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

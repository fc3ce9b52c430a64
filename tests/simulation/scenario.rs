//! What befalls a fleet, one thing after the other.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};
use wsplice::health::Transition;

use super::{
    board::Events,
    fleet::{ARRIVALS, Fleet, Plan},
    proxy::PROBE_TIMEOUT,
    upstream::Upstream,
};

/// What can befall a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    Nothing,
    /// One upstream is cut off from the proxies.
    CutOff,
    /// A quarter of the upstreams are killed at once.
    Killed,
    /// All upstreams are restarted, one after the other.
    Restarted,
}

/// How much of it a fleet goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    Whole,
    /// When many clients lose their tunnels at once.
    Storms,
    /// What must be noticed; how the loads even out after it is left to the others.
    Failures,
}

/// One thing that befell a fleet, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Episode {
    pub(crate) what: What,
    pub(crate) plan: Plan,
    pub(crate) course: Scenario,
    /// For each proxy and each upstream that was struck: how long until it was unhealthy there.
    pub(crate) noticed: Vec<Option<Duration>>,
    /// Upstreams that were called unhealthy and were not.
    pub(crate) blamed: Vec<String>,
    pub(crate) events: Events,
    /// Clients' handshakes within any one second: the most on one upstream that was not struck.
    pub(crate) peak: usize,
    /// By second since it began.
    pub(crate) samples: Vec<Sample>,
    /// When all was well again, in seconds since it began.
    pub(crate) mended: usize,
    /// Upstreams that a proxy does not use although all is well again.
    pub(crate) left_out: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Clients that are not served.
    pub(crate) unserved: usize,
    /// Tunnels of the fullest upstream that is well, over the mean.
    pub(crate) imbalance: f64,
}

/// Watches one episode.
struct Watch<'a> {
    what: What,
    fleet: &'a Fleet,
    course: Scenario,
    began: Instant,
    struck: Range<usize>,
    samples: Vec<Sample>,
    mended: usize,
}

/// Starts a fleet and goes through it all.
pub(crate) async fn run(plan: Plan, course: Scenario) -> Vec<Episode> {
    let fleet = Fleet::start(plan);
    sleep(ARRIVALS + secs(10)).await;
    let mut episodes = Vec::new();
    for what in course.episodes() {
        let watch = Watch::begin(&fleet, course, *what);
        episodes.push(match what {
            What::Nothing => steady(watch).await,
            What::CutOff => cut_off(watch).await,
            What::Killed => kill(watch).await,
            What::Restarted => restart(watch).await,
        });
    }
    episodes
}

async fn steady(mut watch: Watch<'_>) -> Episode {
    watch.during(secs(20)).await;
    watch.end()
}

/// And reached again after a while.
async fn cut_off(mut watch: Watch<'_>) -> Episode {
    for upstream in watch.struck() {
        upstream.cut_off();
    }
    watch.during(secs(50)).await;
    for upstream in watch.struck() {
        upstream.reconnect();
    }
    watch.mended(secs(20)).await;
    watch.end()
}

/// All at once; after a while they come back together.
async fn kill(mut watch: Watch<'_>) -> Episode {
    for upstream in watch.struck() {
        upstream.kill();
    }
    watch.during(secs(45)).await;
    for upstream in watch.struck() {
        upstream.start();
    }
    watch.mended(secs(120)).await;
    watch.end()
}

/// One after the other.
async fn restart(mut watch: Watch<'_>) -> Episode {
    for upstream in watch.struck() {
        let restarted = tokio::spawn(restarted(Arc::clone(upstream)));
        watch.during(secs(6)).await;
        restarted.await.expect("it does not panic");
    }
    watch.mended(secs(60)).await;
    watch.end()
}

async fn restarted(upstream: Arc<Upstream>) {
    upstream.stop().await;
    sleep(secs(2)).await;
    upstream.start();
}

impl What {
    /// Which of so many upstreams.
    fn strikes(self, upstreams: usize) -> Range<usize> {
        match self {
            Self::Nothing => 0..0,
            Self::CutOff => upstreams - 1..upstreams,
            Self::Killed => 0..upstreams / 4,
            Self::Restarted => 0..upstreams,
        }
    }
}

impl Scenario {
    const fn episodes(self) -> &'static [What] {
        match self {
            Self::Whole => &[What::Nothing, What::CutOff, What::Killed, What::Restarted],
            Self::Storms => &[What::Nothing, What::Killed, What::Restarted],
            Self::Failures => &[What::CutOff, What::Killed],
        }
    }
}

impl<'a> Watch<'a> {
    fn begin(fleet: &'a Fleet, course: Scenario, what: What) -> Self {
        drop(fleet.board.turn());
        Self {
            what,
            fleet,
            course,
            began: Instant::now(),
            struck: what.strikes(fleet.upstreams.len()),
            samples: Vec::new(),
            mended: 0,
        }
    }

    async fn during(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            sleep_until((Instant::now() + secs(1)).min(until)).await;
            self.samples.push(Sample::of(self.fleet));
        }
    }

    /// All is well again; watches for so long how it evens out, where that is of interest, and
    /// in any case until the proxies have heard of it.
    async fn mended(&mut self, settles: Duration) {
        self.mended = self.samples.len();
        self.during(match self.course {
            Scenario::Whole | Scenario::Storms => settles,
            Scenario::Failures => secs(20),
        })
        .await;
    }

    fn struck(&self) -> &'a [Arc<Upstream>] {
        &self.fleet.upstreams[self.struck.clone()]
    }

    fn end(self) -> Episode {
        Episode {
            what: self.what,
            plan: self.fleet.plan,
            course: self.course,
            noticed: self.noticed(),
            blamed: self.blamed(),
            peak: self.peak(),
            left_out: self.left_out(),
            events: self.fleet.board.turn(),
            samples: self.samples,
            mended: self.mended,
        }
    }

    fn noticed(&self) -> Vec<Option<Duration>> {
        let mut noticed = Vec::new();
        for proxy in &self.fleet.proxies {
            let mut fell = BTreeMap::new();
            for notice in proxy.notices_since(self.began) {
                if let Transition::Unhealthy { .. } = notice.transition {
                    fell.entry(notice.upstream)
                        .or_insert(notice.at - self.began);
                }
            }
            let struck = &self.fleet.upstreams[self.struck.clone()];
            noticed.extend(
                struck
                    .iter()
                    .map(|struck| fell.get(&struck.name()).copied()),
            );
        }
        noticed
    }

    fn blamed(&self) -> Vec<String> {
        let mut blamed = Vec::new();
        for notice in self
            .fleet
            .proxies
            .iter()
            .flat_map(|proxy| proxy.notices_since(self.began))
        {
            let upstream = self
                .fleet
                .upstreams
                .iter()
                .find(|upstream| upstream.name() == notice.upstream);
            let was_well =
                upstream.is_none_or(|upstream| upstream.was_well(notice.at, PROBE_TIMEOUT));
            if matches!(notice.transition, Transition::Unhealthy { .. }) && was_well {
                blamed.push(format!("{}: {}", notice.upstream, notice.transition));
            }
        }
        blamed
    }

    fn peak(&self) -> usize {
        let all_are_struck = self.struck.len() == self.fleet.upstreams.len();
        let counted = self
            .fleet
            .upstreams
            .iter()
            .filter(|upstream| all_are_struck || !self.struck.contains(&upstream.number));
        let peaks =
            counted.map(|upstream| most_in_a_second(&upstream.handshakes_since(self.began)));
        peaks.max().unwrap_or_default()
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
        let loads = fleet.loads();
        let most = loads.iter().max().copied().unwrap_or_default();
        let mean = loads.iter().sum::<usize>() as f64 / loads.len() as f64;
        Self {
            unserved: fleet.unserved(),
            imbalance: most as f64 / mean,
        }
    }
}

impl Episode {
    /// How long clients who wanted a tunnel were without one, at worst.
    pub(crate) fn longest_wait(&self) -> Duration {
        self.events.waits.iter().max().copied().unwrap_or_default()
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

    /// Seconds from when all was well until the fullest has for good at most this share of the
    /// mean.
    pub(crate) fn even_after(&self, imbalance: f64) -> Option<usize> {
        let uneven = self
            .samples
            .iter()
            .rposition(|sample| sample.imbalance > imbalance);
        let even = uneven.map_or(0, |second| second + 1);
        (even < self.samples.len()).then(|| even.saturating_sub(self.mended))
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

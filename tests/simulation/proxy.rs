//! A proxy: the layer in a server of its own, with a pool of its own.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::time::Instant;
use wsplice::{
    Admission, KeepAlive, Observer, Pool, ProxyLayer, TunnelConfig, TunnelInfo,
    discovery::{Discover, Dns},
    headers::ClientInfo,
    health::{
        AnyOf, Consecutive, EventFilter, HealthTransition, Passive,
        probe::{ProbeSchedule, WebSocketProbe},
    },
    observe::UpstreamInfo,
    pool::{OnUpstreamLoss, PoolBuilder, UpstreamStatus},
    proxy::{Proxy as Service, UpgradeRequired},
    testing::MockDns,
    tunnel::reattach::{Reattach, UpstreamChange},
};

use super::{
    fleet::{Naming, Plan, Reattachment},
    link::End,
    upstream::{HEALTH, Network, SERVICE, Upstream},
};

/// Source of the proxies' knowledge of health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Probes, and nothing else counts.
    Probes,
    /// The defaults where there is a probe: the news of clients counts beside it.
    Defaults,
    /// Clients' handshakes and lost tunnels, whose legs to the upstreams are pinged.
    Clients,
    /// Whichever of the two is first.
    Both,
}

/// Measures against many handshakes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storm {
    /// So many a second for each upstream and proxy, the others wait in a queue.
    Control,
    NoControl,
}

/// Handshakes a second that one proxy allows one upstream; as many may come at once.
pub(crate) const RATE: u32 = 4;

/// The longest wait of a handshake in the queue.
pub(crate) const QUEUE_WAIT: Duration = Duration::from_secs(8);
const QUEUE: usize = 500;

/// The defaults of probes, and of the policy that counts their failures.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(10);
pub(crate) const PROBE_JITTER: f64 = 0.1;
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const FAILS: u32 = 3;

/// Time over which the tunnels of an unhealthy upstream are closed.
pub(crate) const SPREAD: Duration = Duration::from_secs(5);

const SLOW_START: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Proxy {
    service: Service<UpgradeRequired>,
    pool: Pool,
    notices: RecordingObserver,
}

/// Observer that records changes of health, and of tunnels' upstreams.
#[derive(Clone, Debug, Default)]
struct RecordingObserver {
    health: Arc<Mutex<Vec<HealthChange>>>,
    /// Times without an upstream of reattached tunnels, and when they ended.
    gaps: Arc<Mutex<Vec<(Instant, Duration)>>>,
}

/// A change of health.
#[derive(Clone, Debug)]
pub(crate) struct HealthChange {
    pub(crate) at: Instant,
    pub(crate) upstream: String,
    pub(crate) transition: HealthTransition,
}

impl Observer for RecordingObserver {
    fn health_changed(&self, upstream: &UpstreamInfo<'_>, transition: &HealthTransition) {
        let mut notices = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        notices.push(HealthChange {
            at: Instant::now(),
            upstream: upstream.name.into(),
            transition: transition.clone(),
        });
    }

    fn tunnel_reattached(&self, _: &TunnelInfo, change: &UpstreamChange) {
        let mut gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        gaps.push((Instant::now(), change.gap));
    }
}

impl Proxy {
    pub(crate) fn new(upstreams: &[Arc<Upstream>], plan: &Plan, dns: &MockDns) -> Self {
        let notices = RecordingObserver::default();
        let network = Network::to(upstreams);
        let resolver = dns.resolver();
        let (pool, network) = match plan.naming {
            Naming::Listed => (listed(upstreams, plan.storm), network),
            Naming::Dns => (
                Pool::from_upstreams([]),
                network.resolving(resolver.clone()),
            ),
        };
        let pool = with_settings(pool, plan.health).build();
        if plan.naming == Naming::Dns {
            let admission = plan.storm.admission();
            let source = Dns::services(SERVICE)
                .expect("it is a name")
                .resolver(resolver);
            let source = source.each(move |upstream| upstream.admission(admission));
            pool.follow(source).detach();
        }
        let keep_alive = plan.health.pings();
        let layer = ProxyLayer::new(pool.clone())
            .connector(network)
            .tunnel(TunnelConfig::new().upstream_keep_alive(keep_alive))
            .reattach(plan.reattachment.settings())
            .observer(notices.clone());
        Self {
            service: layer.into_service(),
            pool,
            notices,
        }
    }

    /// Takes a client's connection.
    pub(crate) fn accept(&self, end: End, client: usize) {
        let proxy = TowerToHyperService::new(self.service.clone());
        let [.., high, low] = client.to_be_bytes();
        let address = SocketAddr::from(([10, 0, high, low], 4000));
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ClientInfo::from(address));
            proxy.call(request)
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(end), service);
        // The manner in which a client leaves is up to the client.
        tokio::spawn(async { drop(connection.with_upgrades().await) });
    }

    pub(crate) fn snapshot(&self) -> Vec<UpstreamStatus> {
        self.pool.snapshot()
    }

    /// Moves the tunnels of an upstream to others.
    pub(crate) fn drain(&self, upstream: &str, spread: Duration) {
        self.pool.drain(upstream, OnUpstreamLoss::Move { spread });
    }

    /// Uses a drained upstream again.
    pub(crate) fn resume(&self, upstream: &str) {
        self.pool.resume(upstream);
    }

    /// How long tunnels were without an upstream that got another one since then.
    pub(crate) fn gaps_since(&self, since: Instant) -> Vec<Duration> {
        let gaps = self.notices.gaps.lock();
        let gaps = gaps.unwrap_or_else(PoisonError::into_inner);
        let gaps = gaps.iter().filter(|(at, _)| *at >= since);
        gaps.map(|(_, gap)| *gap).collect()
    }

    /// The changes since then.
    pub(crate) fn changes_since(&self, since: Instant) -> Vec<HealthChange> {
        let notices = self.notices.health.lock();
        let notices = notices.unwrap_or_else(PoisonError::into_inner);
        let notices = notices.iter().filter(|notice| notice.at >= since);
        notices.cloned().collect()
    }
}

impl Health {
    pub(crate) fn has_probes(self) -> bool {
        self != Self::Clients
    }

    fn pings(self) -> Option<KeepAlive> {
        matches!(self, Self::Clients | Self::Both).then(KeepAlive::default)
    }

    fn evaluator(self, pool: PoolBuilder) -> PoolBuilder {
        let signals = match self {
            Self::Clients => {
                return pool.health_policy(Passive::default().counting(EventFilter::passive()));
            }
            Self::Probes | Self::Defaults => EventFilter::probes(),
            Self::Both => EventFilter::all(),
        };
        let pool = match self {
            Self::Probes => pool.passive_policy(AnyOf::new()),
            _ => pool,
        };
        let schedule = ProbeSchedule::every(PROBE_INTERVAL)
            .jitter(PROBE_JITTER)
            .timeout(PROBE_TIMEOUT);
        pool.probe(WebSocketProbe::get(HEALTH))
            .probe_schedule(schedule)
            .health_policy(Consecutive::new().fails(FAILS).counting(signals))
    }
}

impl Reattachment {
    fn settings(self) -> Option<Reattach> {
        (self != Self::Off).then(Reattach::new)
    }
}

impl Storm {
    fn admission(self) -> Admission {
        match self {
            Self::Control => Admission::new().handshakes_per_second(RATE),
            Self::NoControl => Admission::new(),
        }
    }
}

fn listed(upstreams: &[Arc<Upstream>], storm: Storm) -> PoolBuilder {
    Pool::from_upstreams(upstreams.iter().map(|upstream| {
        let member = wsplice::Upstream::new(&upstream.url()).expect("it is an address");
        member.weight(upstream.weight).admission(storm.admission())
    }))
}

fn with_settings(pool: PoolBuilder, health: Health) -> PoolBuilder {
    let pool = pool
        .queue(QUEUE, QUEUE_WAIT)
        .slow_start(SLOW_START)
        .unhealthy_tunnels(OnUpstreamLoss::Close { spread: SPREAD });
    health.evaluator(pool)
}

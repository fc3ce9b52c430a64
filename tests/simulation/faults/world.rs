//! All parties together, and the incidents as they happen.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Request;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    runtime::Builder,
    task::JoinSet,
    time::{Instant, advance, sleep, sleep_until, timeout_at},
};
use wsplice::{
    Admission, Drain, KeepAlive, Pool, ProxyLayer, Registry, TunnelConfig, TunnelInfo, Upstream,
    frame::{CloseCode, CloseFrame},
    headers::ClientInfo,
    health::{
        HealthControl,
        probe::{ProbeSchedule, WebSocketProbe},
    },
    pool::OnUpstreamLoss,
    proxy::{Proxy, UpgradeRequired},
    testing::MockDns,
    tunnel::{Framing, reattach::Reattach},
};

use super::{
    client::live,
    host,
    ledger::{Ledger, Tally},
    metrics::Metrics,
    network::{BLACK_HOLE, Network, UNREACHABLE},
    plan::{INCIDENTS, Incident, Leaving, Lie, Plan, SOUND},
    server::{HEALTH, Server},
};
use crate::link::{End, Reads};

/// Time of a drain, and of what follows its deadline.
pub(super) const DRAIN: Duration = Duration::from_secs(10);

/// Longest time from the end of the incidents until the last client has left.
const LEAVE: Duration = Duration::from_secs(400);

/// Longest time from then until nothing is left of them.
const QUIET: Duration = Duration::from_secs(120);

const SPREAD: Duration = Duration::from_secs(3);

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) ledger: Arc<Ledger>,
    pub(super) servers: Vec<Arc<Server>>,
    dns: MockDns,
    pub(super) pool: Pool,
    pub(super) registry: Registry,
    pub(super) drain: Drain,
    pub(super) metrics: Metrics,
    proxy: Proxy<UpgradeRequired>,
    is_over: AtomicBool,
    /// Clients that await the response to their handshake.
    pub(crate) opening: AtomicUsize,
    /// Clients' connections that the proxy has not ended.
    pub(super) connections: AtomicUsize,
    /// Sum of the jumps of the clock, in milliseconds.
    jumped: AtomicU64,
}

/// Runs a plan.
///
/// # Panics
///
/// When a law was broken.
pub(crate) fn run(plan: &Plan) -> Tally {
    fastrand::seed(plan.seed);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let world = Arc::new(World::new(plan.clone()));
        world.live().await;
        world.ledger.judge()
    })
}

impl World {
    fn new(plan: Plan) -> Self {
        let reads = reads(&plan);
        let ledger = Arc::new(Ledger::new(&plan));
        let servers: Vec<_> = (0..plan.upstreams)
            .map(|number| Server::new(number, reads, &ledger))
            .collect();
        let dns = MockDns::new(Duration::from_secs(5));
        for server in &servers {
            dns.set_addresses(&server.host(), [server.ip()]);
        }
        let pool = pool(&plan, &servers);
        let keep_alive = KeepAlive::new().interval(Duration::from_secs(5));
        let framing = match plan.enforces {
            true => Framing::Enforce,
            false => Framing::Observe,
        };
        let layer = ProxyLayer::new(pool.clone())
            .connector(Network {
                servers: servers.clone(),
                resolver: dns.resolver(),
            })
            .tunnel(TunnelConfig::new().keep_alive(keep_alive).framing(framing))
            .reattach(plan.reattaches.then(Reattach::new))
            .observer(Arc::clone(&ledger));
        let layer = match plan.host_panics {
            true => host::layer(layer),
            false => layer,
        };
        let (metrics, layer) = Metrics::of(layer);
        Self {
            metrics,
            registry: layer.registry(),
            drain: layer.drain().deadline(DRAIN).spread(SPREAD),
            proxy: layer.into_service(),
            is_over: AtomicBool::new(false),
            opening: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            jumped: AtomicU64::new(0),
            plan,
            ledger,
            servers,
            dns,
            pool,
        }
    }

    pub(crate) fn reads(&self) -> Reads {
        reads(&self.plan)
    }

    /// Whether the clients should leave.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Whether nothing may end a tunnel to the sound upstream but its client.
    pub(crate) fn must_keep_sound_tunnels(&self) -> bool {
        let mut incidents = self.plan.incidents.iter();
        !self.plan.reattaches
            && !self.plan.jumps()
            && !self.plan.has_aliases_of_the_sound()
            && !self.drain.is_draining()
            && !incidents.any(|(_, incident)| {
                matches!(
                    incident,
                    Incident::Drain(SOUND, _) | Incident::MoveFrom(SOUND) | Incident::CloseOneOf(_)
                )
            })
    }

    /// Takes a client's connection.
    pub(crate) fn accept(self: &Arc<Self>, end: End, client: usize, connection: u16) {
        let proxy = TowerToHyperService::new(self.proxy.clone());
        let address = SocketAddr::from(([10, 0, 0, client as u8], connection));
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ClientInfo::from(address));
            proxy.call(request)
        });
        let serving = http1::Builder::new().serve_connection(TokioIo::new(end), service);
        let world = Arc::clone(self);
        tokio::spawn(async move {
            world.connections.fetch_add(1, Ordering::Relaxed);
            // The manner in which a client leaves is up to the client.
            drop(serving.with_upgrades().await);
            world.connections.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Waits for something, and notes if that takes longer than it may.
    pub(crate) async fn within<F: Future>(
        &self,
        bound: Duration,
        awaited: &str,
        future: F,
    ) -> Option<F::Output> {
        tokio::pin!(future);
        let (began, jumped) = (Instant::now(), self.jumped());
        // A jump of the clock counts for no wait.
        let deadline = || began + bound + (self.jumped() - jumped);
        while Instant::now() < deadline() {
            if let Ok(output) = timeout_at(deadline(), &mut future).await {
                return Some(output);
            }
        }
        let waited = began.elapsed();
        self.ledger
            .breach(format!("{awaited} has not come after {waited:?}"));
        None
    }

    /// Sum of the jumps of the clock.
    fn jumped(&self) -> Duration {
        Duration::from_millis(self.jumped.load(Ordering::Relaxed))
    }

    async fn live(self: &Arc<Self>) {
        let mut clients = JoinSet::new();
        for (client, habit) in self.plan.clients.iter().enumerate() {
            clients.spawn(live(Arc::clone(self), client, *habit));
        }
        let checks = tokio::spawn(Arc::clone(self).check_each_second());
        let began = Instant::now();
        for (at, incident) in self.plan.incidents.clone() {
            sleep_until(began + at).await;
            self.happen(incident).await;
            self.check();
        }
        sleep_until(began + INCIDENTS).await;
        self.heal();
        self.is_over.store(true, Ordering::Relaxed);
        if self.plan.seed % 2 == 0 {
            self.drain().await;
        }
        let leaving = async {
            while let Some(left) = clients.join_next().await {
                if let Err(error) = left {
                    self.ledger.breach(format!("a client: {error}"));
                }
            }
        };
        self.within(LEAVE, "the last client's end", leaving).await;
        let quiet = async {
            while !self.is_quiet() {
                sleep(Duration::from_secs(1)).await;
            }
        };
        if self.within(QUIET, "quiet", quiet).await.is_none() {
            let state = format!("{:?}, {:?}", self.registry.list(), self.pool.snapshot());
            self.ledger.breach(state);
        }
        checks.abort();
        self.check_when_quiet();
    }

    async fn happen(&self, incident: Incident) {
        let name = |number: usize| self.servers[number].name();
        if let Some(number) = incident.faulty() {
            self.ledger.is_faulty_from_now_on(name(number));
        }
        match incident {
            Incident::Kill(number) => self.servers[number].kill(),
            Incident::Stop(number, code) => {
                tokio::spawn(Arc::clone(&self.servers[number]).stop(code));
            }
            Incident::Start(number) => self.servers[number].start(),
            Incident::CutOff(number) => self.servers[number].cut_off(),
            Incident::Fault(number, fault) => self.servers[number].fail(fault),
            Incident::ExhaustPorts(number) => self.servers[number].exhaust_ports(),
            Incident::Drain(number, leaving) => {
                self.pool.drain(&name(number), leaving.choice());
            }
            Incident::Resume(number) => {
                self.pool.resume(&name(number));
            }
            Incident::Remove(number) => {
                self.pool.remove(&name(number));
            }
            Incident::Add(number) => {
                self.pool.add(upstream(&self.plan, &self.servers[number]));
            }
            Incident::ForceUnhealthy(number) => {
                let forced = HealthControl::ForcedUnhealthy;
                self.pool.control_health(&name(number), forced);
            }
            Incident::Auto(number) => {
                self.pool.control_health(&name(number), HealthControl::Auto);
            }
            Incident::DnsFails => self.dns.fail(),
            Incident::DnsRecovers => self.dns.recover(),
            Incident::DnsLies(number, lie) => {
                let address = match lie {
                    Lie::Another(other) => Some(self.servers[other].ip()),
                    Lie::Unreachable => Some(UNREACHABLE),
                    Lie::BlackHole => Some(BLACK_HOLE),
                    Lie::NoAddress => None,
                };
                self.dns
                    .set_addresses(&self.servers[number].host(), address);
            }
            Incident::DnsTellsTheTruth(number) => self.tell_the_address(&self.servers[number]),
            Incident::CloseOneOf(number) => {
                let frame = CloseFrame::new(CloseCode::POLICY_VIOLATION, "closed");
                // Not by the tunnel's own number, which depends on the runs before.
                let is_one = |tunnel: &TunnelInfo| connection(tunnel) % number == 0;
                self.registry.close_where(is_one, frame);
            }
            Incident::MoveFrom(number) => {
                let name = name(number);
                let is_on = |tunnel: &TunnelInfo| *tunnel.upstream == *name;
                self.registry.move_where(is_on, SPREAD);
            }
            Incident::Jump(time) => {
                let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                self.jumped.fetch_add(millis, Ordering::Relaxed);
                advance(time).await;
            }
        }
    }

    fn tell_the_address(&self, server: &Server) {
        self.dns.set_addresses(&server.host(), [server.ip()]);
    }

    /// Makes all upstreams work.
    fn heal(&self) {
        self.dns.recover();
        for server in &self.servers {
            self.tell_the_address(server);
            server.start();
            self.pool.add(upstream(&self.plan, server));
            self.pool.resume(&server.name());
            self.pool
                .control_health(&server.name(), HealthControl::Auto);
        }
    }
}

impl Leaving {
    fn choice(self) -> OnUpstreamLoss {
        match self {
            Self::Stay => OnUpstreamLoss::Leave,
            Self::Close => OnUpstreamLoss::Close { spread: SPREAD },
            Self::Move => OnUpstreamLoss::Move { spread: SPREAD },
        }
    }
}

/// The number of the client's connection.
pub(super) fn connection(tunnel: &TunnelInfo) -> u16 {
    tunnel.client.expect("a client's address").port()
}

fn reads(plan: &Plan) -> Reads {
    match plan.dribbles {
        true => Reads::Split,
        false => Reads::Whole,
    }
}

fn pool(plan: &Plan, servers: &[Arc<Server>]) -> Pool {
    let pool = Pool::from_upstreams(servers.iter().map(|server| upstream(plan, server)))
        .queue(20, Duration::from_secs(8))
        .unhealthy_tunnels(OnUpstreamLoss::Close { spread: SPREAD });
    let pool = match plan.host_panics {
        true => host::policies(pool, plan.probes),
        false => pool,
    };
    match plan.probes {
        true => pool
            .probe(WebSocketProbe::get(HEALTH))
            .probe_schedule(ProbeSchedule::every(Duration::from_secs(5)))
            .build(),
        false => pool.build(),
    }
}

fn upstream(plan: &Plan, server: &Server) -> Upstream {
    let upstream = Upstream::new(&format!("ws://{}", server.name())).expect("an address");
    match plan.max_tunnels {
        Some(most) => upstream.admission(Admission::new().max_tunnels(most)),
        None => upstream,
    }
}

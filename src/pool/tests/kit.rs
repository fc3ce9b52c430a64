//! Probes, observers and tunnels that follow the test's script.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    ErrorKind, Registry, Upstream,
    http::head::RequestHead,
    net::connect::{Address, Dialer},
    observe::{MembershipChange, Observer, UpstreamInfo},
    pool::{Lease, Pool, PoolBuilder},
    tunnel::info::TunnelInfo,
    tunnel::registry::RegistryGuard,
    upstream::Member,
    upstream::admission::AdmissionKind,
    upstream::health::{
        HealthEvent, HealthEventKind, HealthTransition,
        probe::{Probe, ProbeFailure, ProbeFuture, ProbeTarget},
    },
};

pub(super) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) fn named(name: &str) -> Upstream {
    Upstream::new(&format!("ws://{name}:80")).unwrap()
}

pub(super) fn pool(names: &[&str]) -> PoolBuilder {
    Pool::from_upstreams(names.iter().map(|name| named(name)))
}

pub(super) fn member(pool: &Pool, name: &str) -> Arc<Member> {
    let set = pool.state.member_set();
    Arc::clone(set.by_name(&format!("{name}:80")).unwrap())
}

pub(super) fn start(pool: &Pool) {
    pool.set_probe_dialer(&Dialer::default());
}

/// Returns the health states of the upstreams, as text.
pub(super) fn states(pool: &Pool) -> Vec<String> {
    let snapshot = pool.snapshot();
    let states = snapshot.iter().map(|upstream| upstream.health.to_string());
    states.collect()
}

/// Returns the upstreams that are in use.
pub(super) fn used(pool: &Pool) -> Vec<String> {
    let used = pool.snapshot().into_iter().filter(|status| status.is_used);
    used.map(|status| status.name.replace(":80", "")).collect()
}

/// Records a client's handshake that failed to connect.
pub(super) fn refuse(pool: &Pool, name: &str) {
    let kind = HealthEventKind::ConnectFailed(ErrorKind::Connect);
    tell(pool, name, kind);
}

/// Records a client's handshake that the upstream broke off.
pub(super) fn fail(pool: &Pool, name: &str) {
    let kind = HealthEventKind::HandshakeFailed(ErrorKind::NoResponse);
    tell(pool, name, kind);
}

/// Records a client's handshake that was accepted.
pub(super) fn accept(pool: &Pool, name: &str) {
    let latency = Duration::ZERO;
    tell(pool, name, HealthEventKind::Accepted { latency });
}

pub(super) fn tell(pool: &Pool, name: &str, kind: HealthEventKind) {
    let event = HealthEvent::new(Instant::now(), kind);
    pool.state.observe(&member(pool, name), &event);
}

/// Leases an upstream for a plain request.
pub(super) async fn lease(pool: &Pool) -> Result<Lease, ErrorKind> {
    let request = http::Request::new(());
    let head = RequestHead::from(&request);
    let lease = pool.lease(AdmissionKind::Tunnel, &head, &[]).await;
    lease.map_err(|error| error.kind())
}

/// Lists a tunnel of this upstream.
pub(super) fn open(registry: &Registry, member: &Member) -> RegistryGuard {
    let info = TunnelInfo::new(member.shared_name(), "/");
    registry.enter(Some(member.open_tunnels()), info)
}

/// Reaction of an upstream to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeReaction {
    Pass,
    Fail,
    Hang,
    Panic,
}

/// Probe with scripted results, which records each target and time.
#[derive(Clone, Debug, Default)]
pub(super) struct Script(Arc<Mutex<Log>>);

#[derive(Debug, Default)]
struct Log {
    reaction: HashMap<String, ProbeReaction>,
    probed: Vec<(Instant, String)>,
    running: HashMap<String, usize>,
    most: usize,
}

struct Running(Script, String);

impl Script {
    pub(super) fn new<const N: usize>(reaction: [(&str, ProbeReaction); N]) -> Self {
        let script = Self::default();
        for (name, reaction) in reaction {
            script.set(name, reaction);
        }
        script
    }

    pub(super) fn set(&self, name: &str, reaction: ProbeReaction) {
        self.0
            .lock()
            .unwrap()
            .reaction
            .insert(name.to_owned(), reaction);
    }

    /// Returns the times at which this upstream was probed.
    pub(super) fn probed(&self, name: &str) -> Vec<Instant> {
        let log = self.0.lock().unwrap();
        let probed = log.probed.iter().filter(|(_, probed)| probed == name);
        probed.map(|(at, _)| *at).collect()
    }

    /// Returns the maximum number of concurrent probes of one upstream.
    pub(super) fn max_running(&self) -> usize {
        self.0.lock().unwrap().most
    }

    /// Returns the number of probes under way.
    pub(super) fn running(&self) -> usize {
        self.0.lock().unwrap().running.values().sum()
    }

    fn begin(&self, name: String) -> (ProbeReaction, Running) {
        let mut log = self.0.lock().unwrap();
        log.probed.push((Instant::now(), name.clone()));
        let running = log.running.entry(name.clone()).or_default();
        *running += 1;
        let running = *running;
        log.most = log.most.max(running);
        let reaction = log
            .reaction
            .get(&name)
            .copied()
            .unwrap_or(ProbeReaction::Pass);
        (reaction, Running(self.clone(), name))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap().running.get_mut(&self.1).unwrap() -= 1;
    }
}

impl Probe for Script {
    fn probe<'a>(&'a self, target: &'a ProbeTarget) -> ProbeFuture<'a> {
        Box::pin(async move {
            let Address::Tcp { host, .. } = target.address() else {
                unreachable!("only TCP here")
            };
            let (reaction, _running) = self.begin(host.clone());
            target.step("response");
            match reaction {
                ProbeReaction::Pass => Ok(()),
                ProbeReaction::Fail => Err(ProbeFailure::other("out of order")),
                ProbeReaction::Hang => std::future::pending().await,
                ProbeReaction::Panic => panic!("this probe is broken"),
            }
        })
    }
}

/// Observer that records its notifications as text.
#[derive(Debug, Default)]
pub(super) struct ObserverLog(Mutex<Vec<String>>);

impl ObserverLog {
    pub(super) fn of(pool: &Pool) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let observer: Arc<dyn Observer> = Arc::clone(&log) as _;
        pool.attach_observer(&observer);
        log
    }

    /// Returns the records since the last call.
    pub(super) fn read(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn write(&self, upstream: &str, change: &dyn std::fmt::Display) {
        let upstream = upstream.replace(":80", "");
        self.0.lock().unwrap().push(format!("{upstream} {change}"));
    }
}

impl Observer for ObserverLog {
    fn health_changed(&self, upstream: &UpstreamInfo<'_>, transition: &HealthTransition) {
        self.write(upstream.name, transition);
    }

    fn upstream_changed(&self, upstream: &UpstreamInfo<'_>, change: MembershipChange) {
        self.write(upstream.name, &change);
    }
}

//! Probes, observers and tunnels that do as the test says.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::{
    ErrorKind, Registry, Upstream,
    http::head::RequestHead,
    net::connect::{Address, Dialer},
    observe::{Observer, UpstreamChange},
    pool::{Lease, Pool},
    tunnel::registry::Listed,
    tunnel::report::TunnelInfo,
    upstream::Member,
    upstream::admission::Visit,
    upstream::health::{
        HealthEvent, HealthEventKind, Probe, ProbeFailure, ProbeTarget, Probing, Transition,
    },
};

pub(super) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) fn named(name: &str) -> Upstream {
    Upstream::new(&format!("ws://{name}:80")).unwrap()
}

pub(super) fn pool(names: &[&str]) -> Pool {
    Pool::from_upstreams(names.iter().map(|name| named(name)))
}

pub(super) fn member(pool: &Pool, name: &str) -> Arc<Member> {
    let roster = pool.state.roster();
    Arc::clone(roster.named(&format!("{name}:80")).unwrap())
}

pub(super) fn start(pool: &Pool) {
    pool.watch_by(&Dialer::default());
}

/// What the upstreams are taken for, in words.
pub(super) fn states(pool: &Pool) -> Vec<String> {
    let snapshot = pool.snapshot();
    let states = snapshot.iter().map(|upstream| upstream.health.to_string());
    states.collect()
}

/// The upstreams that are in use.
pub(super) fn used(pool: &Pool) -> Vec<String> {
    let used = pool.snapshot().into_iter().filter(|status| status.is_used);
    used.map(|status| status.name.replace(":80", "")).collect()
}

/// A client's handshake has failed to connect.
pub(super) fn refuse(pool: &Pool, name: &str) {
    let kind = HealthEventKind::ConnectFailed(ErrorKind::Connect);
    tell(pool, name, kind);
}

/// A client's handshake was accepted.
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
    let lease = pool.lease(Visit::Tunnel, &head, &[]).await;
    lease.map_err(|error| error.kind())
}

/// Lists a tunnel of this upstream.
pub(super) fn open(registry: &Registry, member: Arc<Member>) -> Listed {
    let upstream = member.shared_name();
    registry.enter(Some(member), |id| TunnelInfo {
        id,
        client: None,
        upstream,
        path: "/".into(),
        subprotocol: None,
        opened: SystemTime::UNIX_EPOCH,
    })
}

/// What an upstream does when it is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    Pass,
    Fail,
    Hang,
    Panic,
}

/// A probe that meets what the test says, and remembers whom it asked and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Script(Arc<Mutex<Log>>);

#[derive(Debug, Default)]
struct Log {
    does: HashMap<String, Does>,
    asked: Vec<(Instant, String)>,
    running: HashMap<String, usize>,
    most: usize,
}

struct Running(Script, String);

impl Script {
    pub(super) fn new<const N: usize>(does: [(&str, Does); N]) -> Self {
        let script = Self::default();
        for (name, does) in does {
            script.set(name, does);
        }
        script
    }

    pub(super) fn set(&self, name: &str, does: Does) {
        self.0.lock().unwrap().does.insert(name.to_owned(), does);
    }

    /// When this one was asked.
    pub(super) fn asked(&self, name: &str) -> Vec<Instant> {
        let log = self.0.lock().unwrap();
        let asked = log.asked.iter().filter(|(_, asked)| asked == name);
        asked.map(|(at, _)| *at).collect()
    }

    /// How many probes of one upstream were under way at once, at most.
    pub(super) fn most_at_once(&self) -> usize {
        self.0.lock().unwrap().most
    }

    /// How many probes are under way.
    pub(super) fn running(&self) -> usize {
        self.0.lock().unwrap().running.values().sum()
    }

    fn begin(&self, name: String) -> (Does, Running) {
        let mut log = self.0.lock().unwrap();
        log.asked.push((Instant::now(), name.clone()));
        let running = log.running.entry(name.clone()).or_default();
        *running += 1;
        let running = *running;
        log.most = log.most.max(running);
        let does = log.does.get(&name).copied().unwrap_or(Does::Pass);
        (does, Running(self.clone(), name))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap().running.get_mut(&self.1).unwrap() -= 1;
    }
}

impl Probe for Script {
    fn probe<'a>(&'a self, target: &'a ProbeTarget) -> Probing<'a> {
        Box::pin(async move {
            let Address::Tcp { host, .. } = target.address() else {
                unreachable!("only TCP here")
            };
            let (does, _running) = self.begin(host.clone());
            target.step("answer");
            match does {
                Does::Pass => Ok(()),
                Does::Fail => Err(ProbeFailure::other("out of order")),
                Does::Hang => std::future::pending().await,
                Does::Panic => panic!("this probe is broken"),
            }
        })
    }
}

/// Writes down what an observer is told, in words.
#[derive(Debug, Default)]
pub(super) struct Diary(Mutex<Vec<String>>);

impl Diary {
    pub(super) fn of(pool: &Pool) -> Arc<Self> {
        let diary = Arc::new(Self::default());
        let observer: Arc<dyn Observer> = Arc::clone(&diary) as _;
        pool.attach_observer(&observer);
        diary
    }

    /// What was written since the last look.
    pub(super) fn read(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn write(&self, upstream: &str, what: &dyn std::fmt::Display) {
        let upstream = upstream.replace(":80", "");
        self.0.lock().unwrap().push(format!("{upstream} {what}"));
    }
}

impl Observer for Diary {
    fn health_changed(&self, upstream: &str, transition: &Transition) {
        self.write(upstream, transition);
    }

    fn upstream_changed(&self, upstream: &str, change: UpstreamChange) {
        self.write(upstream, &change);
    }
}

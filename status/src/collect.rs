//! Collection of the figures from pools, registries and the observer.

use std::{
    cmp::Reverse,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;
use wsplice::{
    Drain, Pool, Registry,
    health::{HealthEvent, HealthEventKind, HealthState},
    pool::{OnUpstreamLoss, UpstreamCounters, UpstreamStatus},
    tunnel::registry::{LegStatus, TunnelStatus},
};

use crate::{
    changes::Changes,
    document::{
        ChangesRow, CountersRow, Document, FailureRow, LegRow, PoolRow, ProbeRow, TunnelRow,
        Tunnels, UpstreamRow,
    },
    ends::RecentEnds,
    search::Search,
};

/// Tunnels in one document.
const MAX_ROWS: usize = 200;

/// Time for which a listing of the tunnels serves all viewers that do not search.
const MAX_AGE: Duration = Duration::from_millis(500);

/// Where the figures come from.
#[derive(Clone, Default)]
pub(crate) struct Sources {
    pools: Vec<(String, Pool)>,
    registries: Vec<Registry>,
    pub(crate) ends: RecentEnds,
    /// What a drain does with the tunnels of its upstream.
    pub(crate) drained_tunnels: OnUpstreamLoss,
    /// The last listing without a search. Of the tunnels only the rows are kept, as a listing of all
    /// would stay in memory after its viewers have left.
    newest: Arc<Mutex<Option<Listing>>>,
}

/// Open tunnels at one moment.
#[derive(Clone)]
struct Listing {
    at: Instant,
    wall: SystemTime,
    /// Number of tunnels that the search found.
    found: usize,
    /// The newest of these tunnels, with the index of their registry.
    rows: Arc<[(usize, TunnelStatus)]>,
}

impl Sources {
    pub(crate) fn add_pool(&mut self, name: String, pool: Pool) {
        self.pools.push((name, pool));
    }

    pub(crate) fn add_registry(&mut self, registry: Registry) {
        self.registries.push(registry);
        self.newest = Arc::default();
    }

    pub(crate) fn find_pool(&self, name: &str) -> Option<&Pool> {
        let mut pools = self.pools.iter();
        pools.find(|(own, _)| own == name).map(|(_, pool)| pool)
    }

    pub(crate) fn registry(&self, index: usize) -> Option<&Registry> {
        self.registries.get(index)
    }

    pub(crate) fn registries(&self) -> &[Registry] {
        &self.registries
    }

    /// Makes the document of this moment, with the tunnels that the search finds.
    pub(crate) fn document(&self, search: &Search) -> Document {
        let now = Instant::now();
        Document {
            version: 1,
            draining: self
                .registries
                .iter()
                .any(|registry| Drain::new(registry).is_draining()),
            pools: self
                .pools
                .iter()
                .map(|(name, pool)| self.pool_row(name, pool, now))
                .collect(),
            tunnels: self.tunnels(search, now),
            ends: self.ends.ends(now),
            reattachments: self.ends.with_changes(Changes::total),
        }
    }

    fn pool_row(&self, name: &str, pool: &Pool, now: Instant) -> PoolRow {
        let retries = pool.retries();
        let upstreams = pool.snapshot();
        let row = |status: &UpstreamStatus| {
            let changes = self.ends.with_changes(|changes| changes.from(&status.name));
            upstream_row(status, changes, now)
        };
        PoolRow {
            name: name.to_owned(),
            upstreams: upstreams.iter().map(row).collect(),
            retries: retries.made,
            retries_denied: retries.denied,
            waiting: pool.queue_len(),
        }
    }

    fn tunnels(&self, search: &Search, now: Instant) -> Tunnels {
        let (listing, open) = match search.text() {
            None => {
                let newest = self.newest(now);
                let open = newest.found;
                (newest, open)
            }
            Some(_) => {
                let open = self.registries.iter().map(Registry::count).sum();
                (self.list(search, now), open)
            }
        };
        let row = |(registry, tunnel): &_| tunnel_row(*registry, tunnel, listing.wall);
        Tunnels {
            open,
            found: listing.found,
            search: search.text().map(str::to_owned),
            rows: listing.rows.iter().map(row).collect(),
        }
    }

    /// Lists the newest tunnels, or returns the listing of a moment ago.
    fn newest(&self, now: Instant) -> Listing {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*newest {
            Some(recent) if now.saturating_duration_since(recent.at) < MAX_AGE => recent.clone(),
            _ => newest.insert(self.list(&Search::default(), now)).clone(),
        }
    }

    fn list(&self, search: &Search, now: Instant) -> Listing {
        let mut tunnels = Vec::new();
        for (index, registry) in self.registries.iter().enumerate() {
            let found = registry.list_where(|tunnel| search.finds(tunnel));
            tunnels.extend(found.into_iter().map(|tunnel| (index, tunnel)));
        }
        let found = tunnels.len();
        tunnels.sort_unstable_by_key(|(_, tunnel)| Reverse((tunnel.info.opened, tunnel.info.id)));
        tunnels.truncate(MAX_ROWS);
        Listing {
            at: now,
            wall: SystemTime::now(),
            found,
            rows: tunnels.into(),
        }
    }
}

fn upstream_row(status: &UpstreamStatus, changes: ChangesRow, now: Instant) -> UpstreamRow {
    let age = |at: Instant| now.saturating_duration_since(at).as_secs_f64();
    let (state, since, cause, until) = match &status.health {
        HealthState::Healthy { since, .. } => ("healthy", *since, None, None),
        HealthState::HalfOpen { since, .. } => ("half_open", *since, None, None),
        HealthState::Unhealthy {
            since,
            cause,
            until,
            ..
        } => ("unhealthy", *since, Some(cause.to_string()), *until),
        // A state of a later version of the proxy.
        _ => ("unknown", now, Some(status.health.to_string()), None),
    };
    UpstreamRow {
        name: status.name.to_string(),
        state,
        since_seconds: age(since),
        cause,
        ejected_for_seconds: until.map(|at| at.saturating_duration_since(now).as_secs_f64()),
        used: status.is_used,
        control: status.control.as_str(),
        doubted: status.is_doubted,
        draining_seconds: status.draining.map(age),
        weight: status.weight,
        tunnels: status.tunnels,
        handshakes: status.handshakes,
        latency_seconds: status.latency.map(|latency| latency.as_secs_f64()),
        last_probe: status
            .last_probe
            .as_ref()
            .map(|probe| probe_row(probe, now)),
        counters: counters_row(&status.counters),
        changes,
    }
}

pub(crate) fn counters_row(counters: &UpstreamCounters) -> CountersRow {
    let failures = counters.failures.iter().map(|(kind, count)| FailureRow {
        kind: kind.as_str(),
        count: *count,
    });
    CountersRow {
        attempts: counters.attempts,
        retries: counters.retries,
        failed: counters.failures.iter().map(|(_, count)| count).sum(),
        failures: failures.collect(),
        refusals: counters.refusals,
        tunnels_opened: counters.tunnels_opened,
        ejections: counters.ejections,
    }
}

fn probe_row(probe: &HealthEvent, now: Instant) -> ProbeRow {
    let (duration, failure) = match &probe.kind {
        HealthEventKind::ProbePassed { latency, .. } => (Some(latency.as_secs_f64()), None),
        HealthEventKind::ProbeFailed { reason, .. } => (None, Some(format!("{reason:#}"))),
        other => (None, Some(other.to_string())),
    };
    ProbeRow {
        passed: failure.is_none(),
        age_seconds: now.saturating_duration_since(probe.at).as_secs_f64(),
        duration_seconds: duration,
        failure,
    }
}

fn tunnel_row(registry: usize, tunnel: &TunnelStatus, wall: SystemTime) -> TunnelRow {
    let info = &tunnel.info;
    let age = wall.duration_since(info.opened).unwrap_or_default();
    TunnelRow {
        registry,
        id: info.id,
        client: info.client.map(|address| address.to_string()),
        upstream: info.upstream.to_string(),
        path: info.path.to_string(),
        key: info.key().map(str::to_owned),
        label: info.label().map(str::to_owned),
        age_seconds: age.as_secs_f64(),
        from_client: leg_row(&tunnel.client, age),
        from_upstream: leg_row(&tunnel.upstream, age),
    }
}

fn leg_row(leg: &LegStatus, age: Duration) -> LegRow {
    LegRow {
        bytes: leg.bytes,
        frames: leg.frames,
        quiet_seconds: age.saturating_sub(leg.last_received).as_secs_f64(),
        rtt_seconds: leg.rtt.map(|rtt| rtt.as_secs_f64()),
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pools: Vec<_> = self.pools.iter().map(|(name, _)| name).collect();
        f.debug_struct("Sources")
            .field("pools", &pools)
            .field("registries", &self.registries.len())
            .finish_non_exhaustive()
    }
}

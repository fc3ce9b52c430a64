//! The proxy's counts: beside each other at any moment, and beside the truth when it is known.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::sleep;
use wsplice::pool::UpstreamStatus;

use super::{
    plan::Incident,
    world::{DRAIN, World},
};

/// Longest time from the deadline of a drain to its end.
const DRAIN_ENDS: Duration = Duration::from_secs(7);

impl World {
    pub(super) async fn check_each_second(self: Arc<Self>) {
        loop {
            sleep(Duration::from_secs(1)).await;
            self.check();
        }
    }

    /// Checks what must hold at any moment.
    pub(super) fn check(&self) {
        let listed = self.registry.list();
        let opening = self.opening.load(Ordering::Relaxed);
        self.law(listed.len() == self.registry.count(), || {
            let count = self.registry.count();
            format!("{} tunnels are listed, and {count} counted", listed.len())
        });
        let ids: HashSet<u64> = listed.iter().map(|tunnel| tunnel.info.id).collect();
        let open = self.ledger.open();
        self.law(open.is_subset(&ids), || {
            format!("{open:?} are open, and {ids:?} are registered")
        });
        // The others await their client's connection, for which the client has not got its 101.
        self.law(ids.len() <= open.len() + opening, || {
            format!("{ids:?} are registered, {open:?} open, and {opening} clients wait")
        });
        let mut of_upstream = HashMap::<&str, usize>::new();
        for tunnel in &listed {
            *of_upstream.entry(&tunnel.info.upstream).or_default() += 1;
        }
        let upstreams = self.pool.snapshot();
        for upstream in &upstreams {
            let most = self.plan.max_tunnels.unwrap_or(usize::MAX);
            let is_exact = !self.plan.reattaches && !self.was_removed(&upstream.name);
            let tunnels = of_upstream.get(&*upstream.name).copied().unwrap_or(0);
            let is_right = upstream.tunnels == tunnels + upstream.handshakes;
            self.law(upstream.tunnels <= most && (is_right || !is_exact), || {
                format!("{tunnels} tunnels, at most {most}, {opening} clients wait: {upstream:?}")
            });
        }
        self.check_metrics(&of_upstream, &upstreams);
        let handshakes: usize = upstreams.iter().map(|it| it.handshakes).sum();
        let under_way = handshakes + self.pool.queue_len();
        let searching = if self.plan.reattaches { open.len() } else { 0 };
        self.law(under_way <= opening + searching, || {
            format!("{under_way} handshakes of {opening} clients and {searching} tunnels")
        });
    }

    /// Checks what a scrape shows now.
    fn check_metrics(&self, of_upstream: &HashMap<&str, usize>, upstreams: &[UpstreamStatus]) {
        let scrape = self.metrics.scrape();
        let equal = |metric: &str, label: &str, value: u64| {
            let shown = scrape.sum(metric, label);
            self.law(shown == value, || {
                format!("{metric} {label} is {shown}, and should be {value}")
            });
        };
        for (upstream, tunnels) in of_upstream {
            let label = format!("upstream=\"{upstream}\"");
            equal("wsplice_tunnels", &label, *tunnels as u64);
        }
        for upstream in upstreams {
            let label = format!("upstream=\"{}\"", upstream.name);
            let handshakes = upstream.handshakes as u64;
            equal("wsplice_handshakes_in_progress", &label, handshakes);
        }
        let tunnels = self.registry.count() as u64;
        equal("wsplice_tunnels", "", tunnels);
        equal("wsplice_queue_length", "", self.pool.queue_len() as u64);
        let ended = self.ledger.ended() as u64;
        equal("wsplice_tunnels_closed_total", "", ended);
        let accepted = self.ledger.counted("accepted");
        let outcome = "outcome=\"accepted\"";
        equal("wsplice_handshakes_total", outcome, accepted);
        let traffic = self.registry.traffic();
        let bytes = traffic.client_to_upstream.bytes + traffic.upstream_to_client.bytes;
        equal("wsplice_bytes_total", "", bytes);
        let draining = u64::from(self.drain.is_draining());
        equal("wsplice_draining", "", draining);
        let remaining = draining * tunnels;
        equal("wsplice_drain_remaining_tunnels", "", remaining);
    }

    /// Whether nothing is left of the clients, in the proxy and at the upstreams.
    pub(super) fn is_quiet(&self) -> bool {
        let upstreams = self.pool.snapshot();
        self.registry.count() == 0
            && self.pool.queue_len() == 0
            && upstreams.iter().all(|it| it.tunnels + it.handshakes == 0)
            && self.connections.load(Ordering::Relaxed) == 0
            // A probe may be under way.
            && (self.plan.probes || self.servers.iter().all(|it| it.connections() == 0))
            && self.ledger.is_balanced()
    }

    /// Checks the sums of a whole run, which the far ends know.
    pub(super) fn check_when_quiet(&self) {
        self.check();
        self.ledger.check_traffic(&self.registry.traffic());
        let counted = |event: &str| self.ledger.counted(event);
        let (accepted, opened) = (counted("accepted"), counted("tunnels"));
        let (lost, seen) = (counted("failed: client_upgrade"), counted("status 101"));
        self.law(accepted == opened + lost, || {
            format!("{accepted} accepted, {opened} opened, {lost} lost before")
        });
        self.law((opened..=accepted).contains(&seen), || {
            format!("clients saw {seen} of {accepted} handshakes accepted, {opened} opened")
        });
    }

    /// Drains, and compares the outcome with what has happened.
    pub(super) async fn drain(&self) {
        let gone = || self.ledger.ended() + self.ledger.counted("failed: client_upgrade") as usize;
        let before = gone();
        let tunnels = self.registry.list().into_iter();
        let doubtful = tunnels
            .filter(|it| self.ledger.may_be_cut(&it.info))
            .count();
        let opening = self.opening.load(Ordering::Relaxed);
        let draining = self.within(DRAIN + DRAIN_ENDS, "the end of a drain", self.drain.run());
        let Some(drained) = draining.await else {
            return;
        };
        self.ledger.count("drains in time");
        let gone = gone() - before;
        self.law(drained.closed + drained.aborted == gone, || {
            format!("{gone} tunnels ended in a drain: {drained:?}")
        });
        let left = self.registry.count();
        self.law(left == 0, || format!("{left} tunnels after {drained:?}"));
        self.law(
            drained.aborted <= doubtful + opening || self.plan.jumps(),
            || {
                format!(
                    "{doubtful} tunnels had reason to be cut off, {opening} opening: {drained:?}"
                )
            },
        );
    }

    fn was_removed(&self, upstream: &str) -> bool {
        let mut incidents = self.plan.incidents.iter();
        incidents.any(|(_, incident)| match incident {
            Incident::Remove(number) => self.servers[*number].name() == upstream,
            _ => false,
        })
    }

    fn law(&self, holds: bool, law: impl FnOnce() -> String) {
        if !holds {
            self.ledger.breach(law());
        }
    }
}

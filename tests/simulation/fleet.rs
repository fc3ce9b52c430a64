//! All of it: upstreams, proxies, clients.

use std::{sync::Arc, time::Duration};

use wsplice::testing::MockDns;

use super::{
    board::Board,
    client::live,
    proxy::{Health, Proxy, Storm},
    upstream::{SERVICE, Upstream},
};

/// Settings of a fleet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) proxies: usize,
    pub(crate) upstreams: usize,
    pub(crate) clients: usize,
    pub(crate) health: Health,
    pub(crate) storm: Storm,
    pub(crate) weights: Weights,
    pub(crate) naming: Naming,
    pub(crate) reattachment: Reattachment,
    pub(crate) seed: u64,
}

/// Fate of the tunnels of an upstream that restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reattachment {
    /// The tunnels end.
    Off,
    /// The tunnels get another upstream once the restart has begun.
    OnLoss,
    /// The tunnels are moved before the restart.
    Moves,
}

/// Source of the upstreams, and of their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// A list of addresses.
    Listed,
    /// The SRV records of a name, whose targets are looked up at each connect.
    Dns,
}

/// Weights of the upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    Equal,
    /// From 1 to 10, and again from 1.
    OneToTen,
}

impl Weights {
    const fn of(self, upstream: usize) -> u32 {
        match self {
            Self::Equal => 1,
            Self::OneToTen => upstream as u32 % 10 + 1,
        }
    }
}

/// Time to live of DNS records.
const TTL: Duration = Duration::from_secs(30);

/// Time over which the clients first arrive.
pub(crate) const ARRIVALS: Duration = Duration::from_secs(30);

/// Average time for which a client stays.
const SESSION: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) plan: Plan,
    pub(crate) board: Board,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) dns: MockDns,
}

impl Fleet {
    /// Starts all parties; the clients begin to arrive. All of them end with the runtime.
    pub(crate) fn start(plan: Plan) -> Arc<Self> {
        fastrand::seed(plan.seed);
        let upstreams: Vec<_> = (0..plan.upstreams)
            .map(|number| Upstream::new(number, plan.weights.of(number)))
            .collect();
        let dns = records(&upstreams);
        let proxies = (0..plan.proxies)
            .map(|_| Proxy::new(&upstreams, &plan, &dns))
            .collect();
        let fleet = Arc::new(Self {
            plan,
            board: Board::new(plan.clients, plan.upstreams),
            upstreams,
            proxies,
            dns,
        });
        for client in 0..plan.clients {
            let comes_after = ARRIVALS.mul_f64(fastrand::f64());
            tokio::spawn(live(Arc::clone(&fleet), client, comes_after));
        }
        fleet
    }

    /// Length of a session: exponentially distributed, so that its length so far does not predict
    /// the rest.
    pub(crate) fn session(&self) -> Duration {
        SESSION.mul_f64(-(1.0 - fastrand::f64()).ln())
    }

    /// Tunnels by upstream. Of those that may have changed since they were opened, the proxies know.
    fn tunnels(&self) -> Vec<usize> {
        if self.plan.reattachment == Reattachment::Off {
            return self.board.tunnels();
        }
        let mut tunnels = vec![0; self.upstreams.len()];
        for status in self.proxies.iter().flat_map(Proxy::snapshot) {
            let mut upstreams = self.upstreams.iter();
            if let Some(number) = upstreams.position(|upstream| upstream.name() == *status.name) {
                tunnels[number] += status.tunnels;
            }
        }
        tunnels
    }

    /// Tunnels of each upstream that is up.
    pub(crate) fn loads(&self) -> Vec<usize> {
        let tunnels = self.tunnels();
        let upstreams = self.upstreams.iter().zip(tunnels);
        let well = upstreams.filter(|(upstream, _)| upstream.is_up());
        well.map(|(_, tunnels)| tunnels).collect()
    }

    /// Tunnels by weight of each upstream that is up.
    pub(crate) fn shares(&self) -> Vec<f64> {
        let tunnels = self.tunnels();
        let upstreams = self.upstreams.iter().zip(tunnels);
        let up = upstreams.filter(|(upstream, _)| upstream.is_up());
        up.map(|(upstream, tunnels)| tunnels as f64 / f64::from(upstream.weight))
            .collect()
    }

    /// Clients that are not served: without a tunnel, or on an upstream that is not up.
    pub(crate) fn unserved(&self) -> usize {
        let on_all: usize = self.tunnels().iter().sum();
        let on_well: usize = self.loads().iter().sum();
        self.board.without() + on_all - on_well
    }
}

/// Creates the DNS of these upstreams.
fn records(upstreams: &[Arc<Upstream>]) -> MockDns {
    let dns = MockDns::new(TTL);
    let hosts: Vec<_> = upstreams.iter().map(|upstream| upstream.host()).collect();
    for (host, upstream) in hosts.iter().zip(upstreams) {
        dns.set_addresses(host, [upstream.ip()]);
    }
    let weights = upstreams.iter().map(|upstream| upstream.weight as u16);
    let servers = hosts.iter().zip(weights);
    dns.set_services(SERVICE, servers.map(|(host, weight)| (&**host, 80, weight)));
    dns
}

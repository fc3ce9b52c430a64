//! All of it: upstreams, proxies, clients.

use std::{sync::Arc, time::Duration};

use super::{
    board::Board,
    client::live,
    proxy::{Health, Proxy, Storm},
    upstream::Upstream,
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
    pub(crate) seed: u64,
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
}

impl Fleet {
    /// Starts all parties; the clients begin to arrive. All of them end with the runtime.
    pub(crate) fn start(plan: Plan) -> Arc<Self> {
        fastrand::seed(plan.seed);
        let upstreams: Vec<_> = (0..plan.upstreams)
            .map(|number| Upstream::new(number, plan.weights.of(number)))
            .collect();
        let proxies = (0..plan.proxies)
            .map(|_| Proxy::new(&upstreams, plan.health, plan.storm))
            .collect();
        let fleet = Arc::new(Self {
            plan,
            board: Board::new(plan.clients, plan.upstreams),
            upstreams,
            proxies,
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

    /// Tunnels of each upstream that is up.
    pub(crate) fn loads(&self) -> Vec<usize> {
        let tunnels = self.board.tunnels();
        let upstreams = self.upstreams.iter().zip(tunnels);
        let well = upstreams.filter(|(upstream, _)| upstream.is_up());
        well.map(|(_, tunnels)| tunnels).collect()
    }

    /// Tunnels by weight of each upstream that is up.
    pub(crate) fn shares(&self) -> Vec<f64> {
        let tunnels = self.board.tunnels();
        let upstreams = self.upstreams.iter().zip(tunnels);
        let up = upstreams.filter(|(upstream, _)| upstream.is_up());
        up.map(|(upstream, tunnels)| tunnels as f64 / f64::from(upstream.weight))
            .collect()
    }

    /// Clients that are not served: without a tunnel, or on an upstream that is not up.
    pub(crate) fn unserved(&self) -> usize {
        let on_all: usize = self.board.tunnels().iter().sum();
        let on_well: usize = self.loads().iter().sum();
        self.board.without() + on_all - on_well
    }
}

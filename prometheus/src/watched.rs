//! What scrapes read: layers, by their tunnels, and pools.

use std::sync::Arc;

use wsplice::{Drain, Pool, ProxyLayer, observe::ObserverHandle, tunnel::registry::LayerTunnels};

use crate::{
    figures::{Figures, Totals},
    pool_observer::PoolObserver,
    series::Series,
};

/// Handles of a layer under observation: its tunnels, its drain and its pool. Other layers may have the same.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) tunnels: LayerTunnels,
    pub(crate) drain: Drain,
    pub(crate) pool: Pool,
}

/// A layer that is watched, with its clones.
#[derive(Debug)]
pub(crate) struct WatchedLayer {
    tunnels: LayerTunnels,
    drain: Drain,
    /// What it had forwarded before.
    before: Totals,
}

/// A pool that is watched.
#[derive(Debug)]
pub(crate) struct WatchedPool {
    pool: Pool,
    /// Counts the pool's events for as long as it is here.
    _observer: ObserverHandle,
    /// What it had counted before.
    before: Totals,
}

impl<T> From<&ProxyLayer<T>> for Watched {
    fn from(layer: &ProxyLayer<T>) -> Self {
        Self {
            tunnels: layer.tunnels(),
            drain: layer.drain(),
            pool: layer.pool(),
        }
    }
}

impl WatchedLayer {
    pub(crate) fn new(watched: &Watched) -> Self {
        let tunnels = watched.tunnels.clone();
        Self {
            before: tunnels.traffic().into(),
            tunnels,
            drain: watched.drain.clone(),
        }
    }

    pub(crate) fn is_of(&self, watched: &Watched) -> bool {
        self.tunnels.same_layer(&watched.tunnels)
    }

    /// What it has forwarded since it is watched.
    pub(crate) fn totals(&self) -> Totals {
        Totals::from(self.tunnels.traffic()).since(self.before)
    }

    pub(crate) fn add_to(&self, figures: &mut Figures) {
        figures.totals.add(self.totals());
        if self.drain.is_draining() {
            figures.draining = true;
            figures.drain_remaining += self.tunnels.count();
        }
    }
}

impl WatchedPool {
    /// Watches a pool, whose events go to these series.
    pub(crate) fn new(watched: &Watched, series: &Arc<Series>) -> Self {
        let pool = watched.pool.clone();
        Self {
            before: counted(&pool),
            _observer: pool.observe(PoolObserver::new(Arc::clone(series))),
            pool,
        }
    }

    pub(crate) fn is_of(&self, watched: &Watched) -> bool {
        self.pool.same_pool(&watched.pool)
    }

    pub(crate) const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// What it has counted since it is watched.
    pub(crate) fn totals(&self) -> Totals {
        counted(&self.pool).since(self.before)
    }

    /// Adds all but the upstreams.
    pub(crate) fn add_to(&self, figures: &mut Figures) {
        figures.totals.add(self.totals());
        figures.queue_len += self.pool.queue_len();
    }
}

/// What a pool has counted so far.
fn counted(pool: &Pool) -> Totals {
    Totals {
        retries_denied: pool.retries().denied,
        ..Totals::default()
    }
}

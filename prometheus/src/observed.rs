//! The layers and pools that are observed under one name.

use std::sync::Arc;

use wsplice::Pool;

use crate::{
    distinct::Distinct,
    figures::{Figures, Totals},
    series::Series,
    watched::{Watched, WatchedLayer, WatchedPool},
};

/// The layers under observation with one name, and their pools, each of them once.
#[derive(Debug)]
pub(crate) struct Observed {
    series: Arc<Series>,
    layers: Distinct<WatchedLayer>,
    pools: Distinct<WatchedPool>,
    /// Of those that are gone: counters must not decrease.
    past: Totals,
}

/// A layer, or a pool, that no observer watches any more.
#[derive(Debug)]
pub(crate) struct Gone {
    _layer: Option<WatchedLayer>,
    _pool: Option<WatchedPool>,
}

impl Observed {
    pub(crate) fn new(series: Series) -> Self {
        Self {
            series: Arc::new(series),
            layers: Distinct::default(),
            pools: Distinct::default(),
            past: Totals::default(),
        }
    }

    pub(crate) const fn series(&self) -> &Arc<Series> {
        &self.series
    }

    /// Adds a layer with its pool.
    pub(crate) fn add(&mut self, watched: &Watched) {
        let layer = || WatchedLayer::new(watched);
        self.layers.hold(|known| known.is_of(watched), layer);
        let pool = || WatchedPool::new(watched, &self.series);
        self.pools.hold(|known| known.is_of(watched), pool);
    }

    /// Removes a layer that is being dropped, and keeps what it and its pool have counted, unless another
    /// layer has it in common with it. What is returned must be dropped without a lock.
    pub(crate) fn remove(&mut self, watched: &Watched) -> Gone {
        let layer = self.layers.release(|layer| layer.is_of(watched));
        let pool = self.pools.release(|pool| pool.is_of(watched));
        let of_layer = layer.as_ref().map(WatchedLayer::totals);
        let of_pool = pool.as_ref().map(WatchedPool::totals);
        for totals in of_layer.into_iter().chain(of_pool) {
            self.past.add(totals);
        }
        Gone {
            _layer: layer,
            _pool: pool,
        }
    }

    /// Returns the figures at this moment, but for those of the upstreams.
    pub(crate) fn figures(&self) -> Figures {
        let mut figures = Figures {
            totals: self.past,
            ..Figures::default()
        };
        for layer in self.layers.iter() {
            layer.add_to(&mut figures);
        }
        for pool in self.pools.iter() {
            pool.add_to(&mut figures);
        }
        figures
    }

    pub(crate) fn pools(&self) -> Vec<Pool> {
        self.pools.iter().map(WatchedPool::pool).cloned().collect()
    }
}

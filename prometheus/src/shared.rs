//! State that the handle, the observers and the collector share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    series::Series,
    set::MetricSet,
    watched::{Totals, Watched},
};

/// Metrics of all layers.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) set: Arc<MetricSet>,
    layers: Mutex<Layers>,
}

/// Layers under observation, and what is kept of those that were dropped.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    /// Each is removed when its layer is dropped.
    pub(crate) present: Vec<Arc<Watched>>,
    /// Of layers that were dropped, by name: counters must not decrease.
    pub(crate) past: BTreeMap<Arc<str>, Totals>,
    /// By name, as the series of upstreams outlive the layers.
    pub(crate) series: BTreeMap<Arc<str>, Arc<Series>>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            set: Arc::new(MetricSet::new()),
            layers: Mutex::default(),
        }
    }

    /// Adds a layer, and returns the series of its name.
    pub(crate) fn add(&self, watched: &Arc<Watched>) -> Arc<Series> {
        let series = {
            let mut layers = self.layers();
            layers.present.push(Arc::clone(watched));
            let name = Arc::clone(&watched.name);
            let series = layers.series.entry(name).or_insert_with_key(|name| {
                Arc::new(Series::new(Arc::clone(&self.set), Arc::clone(name)))
            });
            Arc::clone(series)
        };
        series.welcome(&watched.pool);
        series
    }

    /// Removes a layer that is being dropped, and keeps what it has forwarded.
    pub(crate) fn remove(&self, watched: &Arc<Watched>) {
        let totals = watched.registry.traffic().into();
        let mut layers = self.layers();
        layers
            .present
            .retain(|present| !Arc::ptr_eq(present, watched));
        let past = layers.past.entry(Arc::clone(&watched.name)).or_default();
        past.add(totals);
    }

    pub(crate) fn layers(&self) -> MutexGuard<'_, Layers> {
        // The data is whole after every statement under the lock.
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

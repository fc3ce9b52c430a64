//! State that the handle, the observers and the collector share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    layer::{Layer, Presences},
    set::MetricSet,
    watched::{Totals, Watched},
};

/// Metrics of all layers.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) set: MetricSet,
    layers: Mutex<Layers>,
}

/// Layers under observation, and what is kept of those that were dropped.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    /// Each is removed when its layer is dropped.
    pub(crate) present: Vec<Arc<Layer>>,
    /// Of layers that were dropped, by name: counters must not decrease.
    pub(crate) past: BTreeMap<Arc<str>, Totals>,
    /// By name, as the series of upstreams outlive the layers.
    presences: BTreeMap<Arc<str>, Arc<Presences>>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            set: MetricSet::new(),
            layers: Mutex::default(),
        }
    }

    /// Adds a layer.
    pub(crate) fn add(&self, watched: Watched) -> Arc<Layer> {
        let name = Arc::clone(&watched.name);
        let presences = Arc::clone(self.layers().presences.entry(name).or_default());
        let layer = Arc::new(Layer::new(watched, presences));
        self.layers().present.push(Arc::clone(&layer));
        layer
    }

    /// Removes a layer that is being dropped, and keeps what it has forwarded.
    pub(crate) fn remove(&self, layer: &Arc<Layer>) {
        let watched = layer.watched();
        let totals = watched.registry.traffic().into();
        let mut layers = self.layers();
        layers
            .present
            .retain(|present| !Arc::ptr_eq(present, layer));
        let past = layers.past.entry(Arc::clone(&watched.name)).or_default();
        past.add(totals);
    }

    pub(crate) fn layers(&self) -> MutexGuard<'_, Layers> {
        // The data is whole after every statement under the lock.
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

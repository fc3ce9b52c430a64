//! The host's handle of all metrics.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use prometheus_client::registry::Registry;
use wsplice::ProxyLayer;

use crate::{
    collector::Scrape,
    layer_observer::{LayerObserver, Presences},
    set::MetricSet,
    watched::{Totals, Watched},
};

/// Label `pool` of pools without a name.
const UNNAMED: &str = "default";

/// The metrics of all layers under observation. Cheap to clone; all clones have the same metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    shared: Arc<Shared>,
}

/// What the handle, the observers and the collector share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) set: MetricSet,
    layers: Mutex<Layers>,
}

#[derive(Debug, Default)]
pub(crate) struct Layers {
    /// Each belongs to a layer, and is dropped with it.
    pub(crate) observers: Vec<Weak<LayerObserver>>,
    /// Of layers that were dropped, by name: counters must not decrease.
    pub(crate) past: BTreeMap<Arc<str>, Totals>,
    /// By name, as the series of upstreams outlive the layers.
    presences: BTreeMap<Arc<str>, Arc<Presences>>,
}

impl Metrics {
    /// Registers the metrics under the prefix `wsplice`. A scrape encodes the registry, for example
    /// by [`encode`](crate::encode).
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        Self::register_with_prefix(registry, "wsplice")
    }

    /// Registers the metrics under a prefix of your own: `edge` makes `edge_tunnels` and so on.
    #[must_use]
    pub fn register_with_prefix(registry: &mut Registry, prefix: &str) -> Self {
        let shared = Arc::new(Shared {
            set: MetricSet::new(),
            layers: Mutex::default(),
        });
        registry
            .sub_registry_with_prefix(prefix)
            .register_collector(Box::new(Scrape::new(&shared)));
        Self { shared }
    }

    /// Observes a layer from now on; the [name](wsplice::pool::PoolBuilder::name) of its pool becomes the
    /// label `pool` of its series, or `default` if the pool has none. Call it before the layer is
    /// used, and once for each.
    ///
    /// What layers with the same name count is added up, and upstreams that several of them have
    /// are shown once. Use [`observe_as`](Self::observe_as) to give the layers of one pool series of
    /// their own.
    pub fn observe<T>(&self, layer: ProxyLayer<T>) -> ProxyLayer<T> {
        let pool = layer.pool();
        self.observe_as(pool.name().unwrap_or(UNNAMED), layer)
    }

    /// Like [`observe`](Self::observe), with a name of your own for the label `pool`.
    pub fn observe_as<T>(&self, name: &str, layer: ProxyLayer<T>) -> ProxyLayer<T> {
        let watched = Watched {
            name: name.into(),
            pool: layer.pool(),
            registry: layer.registry(),
            drain: layer.drain(),
        };
        let presences = self.shared.presences(&watched.name);
        let observer = LayerObserver::new(Arc::clone(&self.shared), watched, presences);
        let observer = Arc::new(observer);
        let mut layers = self.shared.layers();
        layers.observers.retain(|layer| layer.strong_count() > 0);
        layers.observers.push(Arc::downgrade(&observer));
        drop(layers);
        layer.observer(observer)
    }
}

impl Shared {
    /// Keeps what a layer has forwarded, as it is being dropped.
    pub(crate) fn keep_totals(&self, watched: &Watched) {
        let totals = watched.registry.traffic().into();
        let mut layers = self.layers();
        let past = layers.past.entry(Arc::clone(&watched.name)).or_default();
        past.add(totals);
    }

    fn presences(&self, name: &Arc<str>) -> Arc<Presences> {
        let mut layers = self.layers();
        Arc::clone(layers.presences.entry(Arc::clone(name)).or_default())
    }

    pub(crate) fn layers(&self) -> MutexGuard<'_, Layers> {
        // The data is whole after every statement under the lock.
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The host's handle of all metrics.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use wsplice::ProxyLayer;

use crate::{collector::Scrape, layer_observer::LayerObserver, shared::Shared, watched::Watched};

/// Label `pool` of pools without a name.
const UNNAMED: &str = "default";

/// The metrics of all layers under observation. Cheap to clone; all clones have the same metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    shared: Arc<Shared>,
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
        let shared = Arc::new(Shared::new());
        registry
            .sub_registry_with_prefix(prefix)
            .register_collector(Box::new(Scrape::new(&shared)));
        Self { shared }
    }

    /// Observes a layer from now on; the [name](wsplice::pool::PoolBuilder::name) of its pool becomes the
    /// label `pool` of its series, or `default` if the pool has none. Call it before the layer is
    /// used, and once for each: clones of the layer that is returned are observed with it, and would
    /// report their events twice if they were observed again.
    ///
    /// What layers with the same name count is added up, and so is what their pools count. What they have
    /// in common, above all a pool, is counted once: [Metrics](crate#metrics) has a table. Use
    /// [`observe_as`](Self::observe_as) to give the layers of one pool series of their own.
    pub fn observe<T>(&self, layer: ProxyLayer<T>) -> ProxyLayer<T> {
        let pool = layer.pool();
        self.observe_as(pool.name().unwrap_or(UNNAMED), layer)
    }

    /// Like [`observe`](Self::observe), with a name of your own for the label `pool`.
    ///
    /// Layers of one pool with names of their own have their own tunnels, handshakes and requests. The
    /// pool has only one queue, one retry budget and one set of upstreams, so their figures are shown
    /// under each of the names, and its events count under each.
    pub fn observe_as<T>(&self, name: &str, layer: ProxyLayer<T>) -> ProxyLayer<T> {
        let watched = Watched::from(&layer);
        let observer = LayerObserver::new(Arc::clone(&self.shared), name, watched);
        layer.observer(observer)
    }
}

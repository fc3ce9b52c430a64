//! State that the handle, the observers and the collector share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;
use wsplice::Pool;

use crate::{
    figures::Figures, observed::Observed, series::Series, set::MetricSet, watched::Watched,
};

/// Metrics of all layers.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) set: Arc<MetricSet>,
    /// By name. A name stays, as its series outlive its layers.
    names: Mutex<BTreeMap<Arc<str>, Observed>>,
}

/// What a scrape takes of one name under the lock.
struct Reading {
    name: Arc<str>,
    series: Arc<Series>,
    figures: Figures,
    pools: Vec<Pool>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            set: Arc::new(MetricSet::new()),
            names: Mutex::default(),
        }
    }

    /// Adds a layer, and returns the series of its name.
    pub(crate) fn add(&self, name: &str, watched: &Watched) -> Arc<Series> {
        let mut names = self.names();
        let observed = names.entry(name.into()).or_insert_with_key(|name| {
            Observed::new(Series::new(Arc::clone(&self.set), Arc::clone(name)))
        });
        observed.add(watched);
        Arc::clone(observed.series())
    }

    /// Removes a layer that is being dropped, and keeps what it has counted.
    pub(crate) fn remove(&self, name: &str, watched: &Watched) {
        let gone = {
            let mut names = self.names();
            names.get_mut(name).map(|observed| observed.remove(watched))
        };
        // Without the lock: a pool may be dropped, and with it what the host gave it.
        drop(gone);
    }

    /// Returns the figures at this moment, by name.
    pub(crate) fn figures(&self) -> BTreeMap<Arc<str>, Figures> {
        let now = Instant::now();
        let readings = self.readings().into_iter().map(|reading| {
            let mut figures = reading.figures;
            for pool in &reading.pools {
                figures.add_upstreams(pool);
            }
            reading.series.note_present(&figures.upstreams, now);
            reading.series.forget_departed(now);
            (reading.name, figures)
        });
        readings.collect()
    }

    /// Reads the counters under the lock: a layer counts among those that are there or in the past.
    fn readings(&self) -> Vec<Reading> {
        let names = self.names();
        let readings = names.iter().map(|(name, observed)| Reading {
            name: Arc::clone(name),
            series: Arc::clone(observed.series()),
            figures: observed.figures(),
            pools: observed.pools(),
        });
        readings.collect()
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Observed>> {
        // The data is whole after every statement under the lock.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

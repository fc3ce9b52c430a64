//! Family: one metric with its series, which can be removed.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, TypedMetric, counter::Counter, gauge::Gauge, histogram::Histogram},
};

use crate::labels::{Key, LabelSet, Names, Scope};

/// Name, help text and labels of a metric.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Description<const N: usize> {
    /// Without the prefix, and without the `_total` of counters.
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) labels: Names<N>,
}

/// A metric with its series.
///
/// The families of `prometheus-client` cannot list their series, so those of an upstream that left
/// could not be removed.
pub(crate) struct Family<M, const N: usize> {
    description: Description<N>,
    new: fn() -> M,
    series: Mutex<BTreeMap<Key<N>, M>>,
}

/// Upper bounds of the buckets of handshakes, connects and requests, in seconds.
const FAST: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Upper bounds of the buckets of tunnels, in seconds: up to a day.
const LONG: [f64; 14] = [
    0.1, 1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 10_800.0, 21_600.0, 43_200.0,
    86_400.0,
];

impl<const N: usize> Family<Counter, N> {
    pub(crate) fn counter(
        name: &'static str,
        scope: Scope,
        names: [&'static str; N],
        help: &'static str,
    ) -> Self {
        Self::new(name, scope, names, help, Counter::default)
    }

    pub(crate) fn inc(&self, key: Key<N>) {
        self.add(key, 1);
    }

    pub(crate) fn add(&self, key: Key<N>, count: u64) {
        self.with(key, |counter| counter.inc_by(count));
    }
}

impl<const N: usize> Family<Gauge, N> {
    pub(crate) fn gauge(
        name: &'static str,
        scope: Scope,
        names: [&'static str; N],
        help: &'static str,
    ) -> Self {
        Self::new(name, scope, names, help, Gauge::default)
    }

    pub(crate) fn inc(&self, key: Key<N>) {
        self.with(key, Gauge::inc);
    }

    pub(crate) fn dec(&self, key: Key<N>) {
        self.with(key, Gauge::dec);
    }
}

impl<const N: usize> Family<Histogram, N> {
    /// A histogram of handshakes and the like.
    pub(crate) fn fast(
        name: &'static str,
        scope: Scope,
        names: [&'static str; N],
        help: &'static str,
    ) -> Self {
        Self::new(name, scope, names, help, || Histogram::new(FAST))
    }

    /// A histogram of the lives of tunnels.
    pub(crate) fn long(
        name: &'static str,
        scope: Scope,
        names: [&'static str; N],
        help: &'static str,
    ) -> Self {
        Self::new(name, scope, names, help, || Histogram::new(LONG))
    }

    pub(crate) fn observe(&self, key: Key<N>, duration: Duration) {
        self.with(key, |histogram| histogram.observe(duration.as_secs_f64()));
    }
}

impl<M, const N: usize> Family<M, N> {
    fn new(
        name: &'static str,
        scope: Scope,
        names: [&'static str; N],
        help: &'static str,
        new: fn() -> M,
    ) -> Self {
        Self {
            description: Description {
                name,
                help,
                labels: Names { scope, names },
            },
            new,
            series: Mutex::default(),
        }
    }

    /// Removes all series of an upstream.
    pub(crate) fn forget(&self, pool: &Arc<str>, upstream: &Arc<str>) {
        let is_kept = |key: &Key<N>| key.pool != *pool || key.upstream.as_ref() != Some(upstream);
        self.series().retain(|key, _| is_kept(key));
    }

    fn with<T>(&self, key: Key<N>, change: impl FnOnce(&M) -> T) {
        change(self.series().entry(key).or_insert_with(self.new));
    }

    fn series(&self) -> MutexGuard<'_, BTreeMap<Key<N>, M>> {
        // The map is whole after every statement under the lock.
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: EncodeMetric + TypedMetric, const N: usize> Family<M, N> {
    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        encode(&self.description, M::TYPE, &self.series(), encoder)
    }
}

/// Encodes a metric with its series. A metric without series is left out.
pub(crate) fn encode<M: EncodeMetric, const N: usize>(
    description: &Description<N>,
    metric_type: MetricType,
    series: &BTreeMap<Key<N>, M>,
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    if series.is_empty() {
        return Ok(());
    }
    let Description { name, help, labels } = description;
    let mut encoder = encoder.encode_descriptor(name, help, None, metric_type)?;
    for (key, metric) in series {
        metric.encode(encoder.encode_family(&LabelSet(*labels, key))?)?;
    }
    Ok(())
}

impl<M, const N: usize> fmt::Debug for Family<M, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family")
            .field("name", &self.description.name)
            .field("series", &self.series().len())
            .finish_non_exhaustive()
    }
}

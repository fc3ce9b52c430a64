//! The metrics, as Prometheus reads them.

use prometheus_client::registry::Registry;
use wsplice::ProxyLayer;
use wsplice_prometheus::encode;

#[derive(Debug)]
pub(crate) struct Metrics(Registry);

/// The body of one scrape.
pub(crate) struct Scrape(String);

impl Metrics {
    /// The metrics of this layer.
    pub(crate) fn of(layer: ProxyLayer) -> (Self, ProxyLayer) {
        let mut registry = Registry::default();
        let layer = wsplice_prometheus::Metrics::register(&mut registry).observe(layer);
        (Self(registry), layer)
    }

    pub(crate) fn scrape(&self) -> Scrape {
        Scrape(encode(&self.0, None).expect("an exposition").body)
    }
}

impl Scrape {
    /// Sum of the series of this metric, or of those that have this label too. A metric that is not
    /// there has had no event, and is 0.
    pub(crate) fn sum(&self, metric: &str, label: &str) -> u64 {
        let series = self.0.lines().filter_map(|line| {
            let labels = line.strip_prefix(metric)?.strip_prefix('{')?;
            let (labels, value) = labels.rsplit_once("} ")?;
            let value: u64 = value.parse().ok()?;
            labels.contains(label).then_some(value)
        });
        series.sum()
    }
}

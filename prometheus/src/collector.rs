//! Collector: what a scrape reads from pools, registries and drains.

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

use crate::{
    family::{self, Description},
    figures::{DIRECTIONS, Figures, UpstreamFigures},
    labels::{Key, Names, Scope},
    shared::Shared,
};

/// Collector of all layers.
#[derive(Debug)]
pub(crate) struct Scrape {
    shared: Arc<Shared>,
}

/// Figures by name.
type Named = BTreeMap<Arc<str>, Figures>;

impl Scrape {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
        }
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = self.shared.figures();
        self.shared.set.encode(&mut encoder)?;
        traffic(&figures, &mut encoder)?;
        pools(&figures, &mut encoder)?;
        upstreams(&figures, &mut encoder)
    }
}

fn traffic(figures: &Named, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let series = |value: fn(&Figures) -> [u64; 2]| {
        let series = figures.iter().flat_map(move |(pool, figures)| {
            let directions = DIRECTIONS.into_iter().zip(value(figures));
            directions
                .map(|(direction, value)| (of_pool(pool, [direction]), ConstCounter::new(value)))
        });
        series.collect()
    };
    let help = "Bytes that were forwarded, of open and ended tunnels.";
    let bytes = series(|figures| figures.totals.bytes);
    encode("bytes", Scope::Pool, ["direction"], help, &bytes, encoder)?;
    let help = "Frames that were forwarded, of open and ended tunnels.";
    let frames = series(|figures| figures.totals.frames);
    encode("frames", Scope::Pool, ["direction"], help, &frames, encoder)
}

fn pools(figures: &Named, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let gauges = |value: fn(&Figures) -> i64| {
        let series = figures
            .iter()
            .map(move |(pool, figures)| (of_pool(pool, []), ConstGauge::new(value(figures))));
        series.collect()
    };
    let help = "Whether a drain is in progress: 1 or 0.";
    let draining = gauges(|figures| i64::from(figures.draining));
    encode("draining", Scope::Pool, [], help, &draining, encoder)?;
    let help = "Tunnels that a drain still waits for; 0 without a drain.";
    let remaining = gauges(|figures| whole(figures.drain_remaining));
    encode(
        "drain_remaining_tunnels",
        Scope::Pool,
        [],
        help,
        &remaining,
        encoder,
    )?;
    let help = "Handshakes that wait in the pool's queue.";
    let queue = gauges(|figures| whole(figures.queue_len));
    encode("queue_length", Scope::Pool, [], help, &queue, encoder)?;
    let help = "Retries that the pool's retry budget denied.";
    let denied = figures.iter().map(|(pool, figures)| {
        let denied = ConstCounter::new(figures.totals.retries_denied);
        (of_pool(pool, []), denied)
    });
    encode(
        "retries_denied",
        Scope::Pool,
        [],
        help,
        &denied.collect(),
        encoder,
    )
}

fn upstreams(figures: &Named, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let gauges = |value: fn(&UpstreamFigures) -> i64| {
        let mut series = BTreeMap::new();
        for (pool, figures) in figures {
            for (name, upstream) in &figures.upstreams {
                let key = Key {
                    upstream: Some(Arc::clone(name)),
                    ..of_pool(pool, [])
                };
                series.insert(key, ConstGauge::new(value(upstream)));
            }
        }
        series
    };
    let help = "Whether an upstream of the pool is healthy or half-open: 1, or unhealthy: 0.";
    let healthy = gauges(|upstream| i64::from(upstream.is_healthy));
    encode(
        "upstream_healthy",
        Scope::Upstream,
        [],
        help,
        &healthy,
        encoder,
    )?;
    let help = "Whether an upstream may get new tunnels: 1 or 0.";
    let used = gauges(|upstream| i64::from(upstream.is_used));
    encode("upstream_used", Scope::Upstream, [], help, &used, encoder)?;
    let help = "Handshakes in progress at an upstream.";
    let handshakes = gauges(|upstream| whole(upstream.handshakes));
    encode(
        "handshakes_in_progress",
        Scope::Upstream,
        [],
        help,
        &handshakes,
        encoder,
    )
}

fn of_pool<const N: usize>(pool: &Arc<str>, values: [&'static str; N]) -> Key<N> {
    Key {
        pool: Arc::clone(pool),
        upstream: None,
        values,
    }
}

fn encode<M: EncodeMetric, const N: usize>(
    name: &'static str,
    scope: Scope,
    names: [&'static str; N],
    help: &'static str,
    series: &BTreeMap<Key<N>, M>,
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let Some(metric) = series.values().next() else {
        return Ok(());
    };
    let labels = Names { scope, names };
    let description = Description { name, help, labels };
    family::encode(&description, metric.metric_type(), series, encoder)
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

//! Collector: what a scrape reads from pools, registries and drains.

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use tokio::time::Instant;

use crate::{
    family::{self, Description},
    labels::{Key, Names, Scope},
    shared::Shared,
    watched::{DIRECTIONS, PoolFigures},
};

/// Collector of all layers.
#[derive(Debug)]
pub(crate) struct Scrape {
    shared: Arc<Shared>,
}

type Figures = BTreeMap<Arc<str>, PoolFigures>;

impl Scrape {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
        }
    }

    fn figures(&self) -> Figures {
        let mut figures = Figures::new();
        let (present, past, series) = {
            let layers = self.shared.layers();
            let (past, series) = (layers.past.clone(), layers.series.clone());
            (layers.present.clone(), past, series)
        };
        let now = Instant::now();
        for series in series.values() {
            series.forget_departed(now);
        }
        for watched in &present {
            let figures = figures.entry(Arc::clone(&watched.name)).or_default();
            watched.add_to(figures);
        }
        for (name, totals) in past {
            figures.entry(name).or_default().traffic.add(totals);
        }
        figures
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = self.figures();
        self.shared.set.encode(&mut encoder)?;
        traffic(&figures, &mut encoder)?;
        pools(&figures, &mut encoder)?;
        upstreams(&figures, &mut encoder)
    }
}

fn traffic(figures: &Figures, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let series = |value: fn(&PoolFigures) -> [u64; 2]| {
        let series = figures.iter().flat_map(move |(pool, figures)| {
            let directions = DIRECTIONS.into_iter().zip(value(figures));
            directions
                .map(|(direction, value)| (of_pool(pool, [direction]), ConstCounter::new(value)))
        });
        series.collect()
    };
    let help = "Bytes that were forwarded, of open and ended tunnels.";
    let bytes = series(|figures| figures.traffic.bytes);
    encode("bytes", Scope::Pool, ["direction"], help, &bytes, encoder)?;
    let help = "Frames that were forwarded, of open and ended tunnels.";
    let frames = series(|figures| figures.traffic.frames);
    encode("frames", Scope::Pool, ["direction"], help, &frames, encoder)
}

fn pools(figures: &Figures, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let gauges = |value: fn(&PoolFigures) -> i64| {
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
    let denied = figures
        .iter()
        .map(|(pool, figures)| (of_pool(pool, []), ConstCounter::new(figures.retries_denied)));
    encode(
        "retries_denied",
        Scope::Pool,
        [],
        help,
        &denied.collect(),
        encoder,
    )
}

fn upstreams(figures: &Figures, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let gauges = |value: fn(&wsplice::pool::UpstreamStatus) -> i64| {
        let mut series = BTreeMap::new();
        for (pool, figures) in figures {
            for (name, status) in &figures.upstreams {
                let key = Key {
                    upstream: Some(Arc::clone(name)),
                    ..of_pool(pool, [])
                };
                series.insert(key, ConstGauge::new(value(status)));
            }
        }
        series
    };
    let help = "Whether an upstream of the pool is healthy or half-open: 1, or unhealthy: 0.";
    let healthy = gauges(|status| i64::from(status.health.is_usable()));
    encode(
        "upstream_healthy",
        Scope::Upstream,
        [],
        help,
        &healthy,
        encoder,
    )?;
    let help = "Whether an upstream may get new tunnels: 1 or 0.";
    let used = gauges(|status| i64::from(status.is_used));
    encode("upstream_used", Scope::Upstream, [], help, &used, encoder)?;
    let help = "Handshakes in progress at an upstream.";
    let handshakes = gauges(|status| whole(status.handshakes));
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

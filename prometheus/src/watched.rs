//! A layer as scrapes see it: its pool, its registry and its drain.

use std::{collections::BTreeMap, sync::Arc};

use wsplice::{Drain, Pool, Registry, pool::UpstreamStatus, tunnel::registry::Traffic};

/// A layer under observation.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) name: Arc<str>,
    pub(crate) pool: Pool,
    pub(crate) registry: Registry,
    pub(crate) drain: Drain,
}

/// Figures of all layers with one name, at the time of a scrape.
#[derive(Debug, Default)]
pub(crate) struct PoolFigures {
    pub(crate) traffic: Totals,
    pub(crate) draining: bool,
    pub(crate) drain_remaining: usize,
    pub(crate) queue_len: usize,
    pub(crate) retries_denied: u64,
    /// By name.
    pub(crate) upstreams: BTreeMap<Arc<str>, UpstreamStatus>,
}

/// Bytes and frames that were forwarded, of both directions in the order of [`DIRECTIONS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) bytes: [u64; 2],
    pub(crate) frames: [u64; 2],
}

/// Values of the label `direction`.
pub(crate) const DIRECTIONS: [&str; 2] = ["client_to_upstream", "upstream_to_client"];

impl Watched {
    pub(crate) fn add_to(&self, figures: &mut PoolFigures) {
        figures.traffic.add(self.registry.traffic().into());
        if self.drain.is_draining() {
            figures.draining = true;
            figures.drain_remaining += self.registry.count();
        }
        // Layers of one pool have these in common.
        figures.queue_len = self.pool.queue_len();
        figures.retries_denied = self.pool.retries().denied;
        for status in self.pool.snapshot() {
            figures.upstreams.insert(Arc::clone(&status.name), status);
        }
    }
}

impl Totals {
    pub(crate) fn add(&mut self, other: Self) {
        for direction in 0..DIRECTIONS.len() {
            self.bytes[direction] += other.bytes[direction];
            self.frames[direction] += other.frames[direction];
        }
    }
}

impl From<Traffic> for Totals {
    fn from(traffic: Traffic) -> Self {
        let (up, down) = (traffic.client_to_upstream, traffic.upstream_to_client);
        Self {
            bytes: [up.bytes, down.bytes],
            frames: [up.frames, down.frames],
        }
    }
}

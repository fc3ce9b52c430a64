//! The figures that a scrape reads.

use std::{collections::BTreeMap, sync::Arc};

use wsplice::{Pool, pool::UpstreamStatus, tunnel::registry::Traffic};

/// Figures of all layers with one name, and of their pools.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) totals: Totals,
    pub(crate) draining: bool,
    pub(crate) drain_remaining: usize,
    pub(crate) queue_len: usize,
    /// By name.
    pub(crate) upstreams: BTreeMap<Arc<str>, UpstreamFigures>,
}

/// What only increases, for counters. Both directions are in the order of [`DIRECTIONS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) bytes: [u64; 2],
    pub(crate) frames: [u64; 2],
    pub(crate) retries_denied: u64,
}

/// Figures of an upstream, in all pools with one name that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamFigures {
    /// In every one of them.
    pub(crate) is_healthy: bool,
    /// In every one of them.
    pub(crate) is_used: bool,
    pub(crate) handshakes: usize,
}

/// Values of the label `direction`.
pub(crate) const DIRECTIONS: [&str; 2] = ["client_to_upstream", "upstream_to_client"];

impl Figures {
    /// Adds the upstreams of a pool.
    pub(crate) fn add_upstreams(&mut self, pool: &Pool) {
        for status in pool.snapshot() {
            let figures = UpstreamFigures::from(&status);
            let known = self.upstreams.entry(status.name);
            known
                .and_modify(|known| known.add(figures))
                .or_insert(figures);
        }
    }
}

impl Totals {
    pub(crate) fn add(&mut self, other: Self) {
        for direction in 0..DIRECTIONS.len() {
            self.bytes[direction] += other.bytes[direction];
            self.frames[direction] += other.frames[direction];
        }
        self.retries_denied += other.retries_denied;
    }

    /// What has been added since these totals, which are earlier ones of the same things.
    pub(crate) fn since(self, before: Self) -> Self {
        let added = |now: u64, before: u64| now.saturating_sub(before);
        let in_both = |now: [u64; 2], before: [u64; 2]| {
            std::array::from_fn(|direction| added(now[direction], before[direction]))
        };
        Self {
            bytes: in_both(self.bytes, before.bytes),
            frames: in_both(self.frames, before.frames),
            retries_denied: added(self.retries_denied, before.retries_denied),
        }
    }
}

impl From<Traffic> for Totals {
    fn from(traffic: Traffic) -> Self {
        let (up, down) = (traffic.client_to_upstream, traffic.upstream_to_client);
        Self {
            bytes: [up.bytes, down.bytes],
            frames: [up.frames, down.frames],
            retries_denied: 0,
        }
    }
}

impl UpstreamFigures {
    /// Adds those in another pool.
    fn add(&mut self, other: Self) {
        self.is_healthy &= other.is_healthy;
        self.is_used &= other.is_used;
        self.handshakes += other.handshakes;
    }
}

impl From<&UpstreamStatus> for UpstreamFigures {
    fn from(status: &UpstreamStatus) -> Self {
        Self {
            is_healthy: status.health.is_usable(),
            is_used: status.is_used,
            handshakes: status.handshakes,
        }
    }
}

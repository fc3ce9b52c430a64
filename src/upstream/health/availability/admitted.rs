//! Result of an availability policy. Pure.

use super::upstream_health::UpstreamHealth;

/// Set of the upstreams of a pool that may be used, by their index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    admitted: Vec<bool>,
}

impl Admitted {
    /// Returns the set of the healthy upstreams.
    #[must_use]
    pub fn healthy(pool: &[UpstreamHealth<'_>]) -> Self {
        let admitted = pool.iter().map(UpstreamHealth::is_healthy).collect();
        Self { admitted }
    }

    /// Returns the set of all upstreams.
    #[must_use]
    pub fn all(pool: &[UpstreamHealth<'_>]) -> Self {
        let admitted = vec![true; pool.len()];
        Self { admitted }
    }

    /// Adds an upstream; an index outside the pool has no effect.
    pub fn insert(&mut self, index: usize) {
        if let Some(admitted) = self.admitted.get_mut(index) {
            *admitted = true;
        }
    }

    /// Whether the upstream at this index may be used.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        self.admitted.get(index).copied().unwrap_or_default()
    }

    /// Returns the number of upstreams that may be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether no upstream may be used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Returns an iterator over the indices of the upstreams that may be used, in the pool's order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<'_> {
        let admitted = self.admitted.iter().enumerate();
        admitted.filter_map(|(index, admitted)| admitted.then_some(index))
    }
}

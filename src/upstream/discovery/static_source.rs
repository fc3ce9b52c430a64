//! Source with one fixed set of upstreams.

use super::discover::{Discover, DiscoverFuture};
use crate::upstream::upstream::Upstream;

/// Source with one fixed set of upstreams.
///
/// Useful if settings choose the kind of source; otherwise create the pool from the upstreams.
#[derive(Clone, Debug)]
pub struct StaticSource {
    upstreams: Option<Vec<Upstream>>,
}

impl StaticSource {
    /// Creates a source of these upstreams.
    #[must_use]
    pub fn new(upstreams: impl IntoIterator<Item = Upstream>) -> Self {
        Self {
            upstreams: Some(upstreams.into_iter().collect()),
        }
    }
}

impl Discover for StaticSource {
    fn discover(&mut self) -> DiscoverFuture<'_> {
        let upstreams = self.upstreams.take();
        Box::pin(async move { upstreams.map(Ok) })
    }
}

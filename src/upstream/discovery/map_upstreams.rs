//! Changes what a source finds.

use std::fmt;

use super::{Discover, Discovering};
use crate::upstream::Upstream;

/// A source whose upstreams are changed; made by [`Discover::each`].
#[derive(Clone)]
pub struct MapUpstreams<D, F> {
    source: D,
    change: F,
}

impl<D, F> MapUpstreams<D, F> {
    pub(super) const fn new(source: D, change: F) -> Self {
        Self { source, change }
    }
}

impl<D, F> Discover for MapUpstreams<D, F>
where
    D: Discover,
    F: FnMut(Upstream) -> Upstream + Send,
{
    fn discover(&mut self) -> Discovering<'_> {
        let found = self.source.discover();
        let change = &mut self.change;
        Box::pin(async move {
            let found = found.await?;
            Some(found.map(|upstreams| upstreams.into_iter().map(change).collect()))
        })
    }
}

impl<D: fmt::Debug, F> fmt::Debug for MapUpstreams<D, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapUpstreams")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

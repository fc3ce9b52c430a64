//! Upstreams that are known from the start.

use super::{Discover, Discovering};
use crate::upstream::Upstream;

/// One set of upstreams, told once.
///
/// For a program whose settings say which source there is: else make the pool of them.
#[derive(Clone, Debug)]
pub struct StaticSource {
    upstreams: Option<Vec<Upstream>>,
}

impl StaticSource {
    /// These upstreams.
    #[must_use]
    pub fn new(upstreams: impl IntoIterator<Item = Upstream>) -> Self {
        Self {
            upstreams: Some(upstreams.into_iter().collect()),
        }
    }
}

impl Discover for StaticSource {
    fn discover(&mut self) -> Discovering<'_> {
        let upstreams = self.upstreams.take();
        Box::pin(async move { upstreams.map(Ok) })
    }
}

//! Trait of discovery sources.

use std::{fmt, future::Future, pin::Pin};

use tokio::sync::mpsc;

use crate::upstream::upstream::Upstream;

use super::error::DiscoverError;

/// Future returned by [`Discover::discover`].
pub type DiscoverFuture<'a> =
    Pin<Box<dyn Future<Output = Option<Result<Vec<Upstream>, DiscoverError>>> + Send + 'a>>;

/// Discovery source: yields the set of upstreams whenever it changes.
///
/// # Examples
///
/// A file with one address per line, read again after each message on `changed`:
///
/// ```
/// use tokio::sync::mpsc;
/// use wsplice::{Upstream, discovery::{Discover, DiscoverError, DiscoverFuture}};
///
/// #[derive(Debug)]
/// struct ListInFile {
///     path: std::path::PathBuf,
///     changed: mpsc::Receiver<()>,
/// }
///
/// impl Discover for ListInFile {
///     fn discover(&mut self) -> DiscoverFuture<'_> {
///         Box::pin(async {
///             self.changed.recv().await?;
///             Some(read(&self.path).await.map_err(DiscoverError::failed))
///         })
///     }
/// }
///
/// async fn read(path: &std::path::Path) -> Result<Vec<Upstream>, Box<dyn std::error::Error + Send + Sync>> {
///     let text = tokio::fs::read_to_string(path).await?;
///     text.lines().map(|line| Ok(Upstream::new(line)?)).collect()
/// }
/// ```
pub trait Discover: Send {
    /// Waits for the next set of upstreams; the first call yields the current one.
    ///
    /// The set is complete. `None` means that no set will follow, and the pool stays as it is.
    ///
    /// The order of a set with changes becomes the pool's. Sort sets that come in any order, for
    /// policies that go by positions, and so that all proxies have the same order.
    ///
    /// # Errors
    ///
    /// The reason why the upstreams were not found. The pool calls the source again; a source
    /// should delay its next attempt, and the pool limits the rate if it does not.
    ///
    /// # Cancellation
    ///
    /// The future is dropped when the [`DiscoveryHandle`](crate::pool::DiscoveryHandle) or the pool is
    /// dropped.
    fn discover(&mut self) -> DiscoverFuture<'_>;

    /// Whether the order of the sets means something: a set in another order than the last is a
    /// change then. False by default.
    fn is_ordered(&self) -> bool {
        false
    }

    /// Adapts the source so that the order of its sets means something, as it does to
    /// [`First`](crate::balance::First).
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Pool, Upstream, discovery::{Discover, WatchSource}};
    ///
    /// # fn follow(pool: &Pool, order: tokio::sync::watch::Receiver<Vec<Upstream>>) {
    /// pool.follow(WatchSource::new(order).in_order()).detach();
    /// # }
    /// ```
    fn in_order(self) -> InOrder<Self>
    where
        Self: Sized,
    {
        InOrder { source: self }
    }

    /// Adapts the source so that `change` is applied to every upstream: its weight, its limits, its
    /// tags.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Admission, Upstream, discovery::{Discover, StaticSource}};
    ///
    /// let upstreams = StaticSource::new([Upstream::new("ws://10.0.0.1:8080")?])
    ///     .each(|upstream| upstream.admission(Admission::new().max_tunnels(10_000)));
    /// # let _ = upstreams;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    fn each<F>(self, change: F) -> MapUpstreams<Self, F>
    where
        Self: Sized,
        F: FnMut(Upstream) -> Upstream + Send,
    {
        MapUpstreams::new(self, change)
    }
}

/// Shows the name of the trait alone, as `Debug` is not demanded of its types.
impl fmt::Debug for dyn Discover + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Discover")
    }
}

impl<D: Discover + ?Sized> Discover for Box<D> {
    fn discover(&mut self) -> DiscoverFuture<'_> {
        (**self).discover()
    }

    fn is_ordered(&self) -> bool {
        (**self).is_ordered()
    }
}

/// The newest set in the channel counts. When all senders are gone, the pool stays as it is.
impl Discover for mpsc::Receiver<Vec<Upstream>> {
    fn discover(&mut self) -> DiscoverFuture<'_> {
        Box::pin(async {
            let mut newest = self.recv().await?;
            // Bounded, as a fast sender could go on for ever.
            for _ in 0..self.len() {
                match self.try_recv() {
                    Ok(newer) => newest = newer,
                    Err(_) => break,
                }
            }
            Some(Ok(newest))
        })
    }
}

/// Source adapter that changes each upstream; made by [`Discover::each`].
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
    fn discover(&mut self) -> DiscoverFuture<'_> {
        let found = self.source.discover();
        let change = &mut self.change;
        Box::pin(async move {
            let found = found.await?;
            Some(found.map(|upstreams| upstreams.into_iter().map(change).collect()))
        })
    }

    fn is_ordered(&self) -> bool {
        self.source.is_ordered()
    }
}

impl<D: fmt::Debug, F> fmt::Debug for MapUpstreams<D, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapUpstreams")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Source adapter whose sets have an order that means something; made by [`Discover::in_order`].
#[derive(Clone, Debug)]
pub struct InOrder<D> {
    source: D,
}

impl<D: Discover> Discover for InOrder<D> {
    fn discover(&mut self) -> DiscoverFuture<'_> {
        self.source.discover()
    }

    fn is_ordered(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::discovery::{StaticSource, WatchSource, testing::upstreams};

    #[tokio::test]
    async fn of_sets_that_wait_in_a_channel_the_newest_counts() {
        let (sender, mut source) = mpsc::channel(4);
        for names in [&["a"][..], &["a", "b"], &["b"]] {
            sender.send(upstreams(names)).await.unwrap();
        }
        assert_eq!(source.discover().await.unwrap().unwrap(), upstreams(&["b"]));
        drop(sender);
        assert!(source.discover().await.is_none());
    }

    #[tokio::test]
    async fn sources_can_be_boxed_and_changed() {
        let (sender, receiver) = tokio::sync::watch::channel(upstreams(&["a"]));
        let sources: [Box<dyn Discover>; 2] = [
            Box::new(StaticSource::new(upstreams(&["a"])).each(|upstream| upstream.weight(7))),
            Box::new(WatchSource::new(receiver).each(|upstream| upstream.weight(7))),
        ];
        drop(sender);
        for source in sources {
            let mut source = source.each(|upstream| upstream.tag("zone", "b"));
            let found = source.discover().await.unwrap().unwrap();
            let expected = upstreams(&["a"]).remove(0).weight(7).tag("zone", "b");
            assert_eq!(found, [expected]);
            assert!(source.discover().await.is_none());
        }
    }
}

//! The seam.

use std::{fmt, future::Future, pin::Pin};

use tokio::sync::mpsc;

use crate::upstream::Upstream;

use super::{DiscoverError, MapUpstreams};

/// What [`Discover::discover`] returns.
pub type Discovering<'a> =
    Pin<Box<dyn Future<Output = Option<Result<Vec<Upstream>, DiscoverError>>> + Send + 'a>>;

/// Tells, over time, which upstreams there are.
///
/// # Examples
///
/// A file with an address a line, read again whenever `changed` says so:
///
/// ```
/// use tokio::sync::mpsc;
/// use wsplice::{Upstream, discovery::{Discover, DiscoverError, Discovering}};
///
/// #[derive(Debug)]
/// struct ListInFile {
///     path: std::path::PathBuf,
///     changed: mpsc::Receiver<()>,
/// }
///
/// impl Discover for ListInFile {
///     fn discover(&mut self) -> Discovering<'_> {
///         Box::pin(async {
///             self.changed.recv().await?;
///             Some(read(&self.path).await.map_err(DiscoverError::failed))
///         })
///     }
/// }
///
/// async fn read(path: &std::path::Path) -> Result<Vec<Upstream>, wsplice::BoxError> {
///     let text = tokio::fs::read_to_string(path).await?;
///     text.lines().map(|line| Ok(Upstream::new(line)?)).collect()
/// }
/// ```
pub trait Discover: fmt::Debug + Send {
    /// Waits until there is something new to tell, the first time not at all.
    ///
    /// What is told is the complete set, in an order that does not change by itself: sort what
    /// comes in any order. `None` says that nothing will follow, and the pool stays as it is.
    ///
    /// # Errors
    ///
    /// What is in the way of finding the upstreams. It will be asked again; a source should take
    /// its time before the next attempt, though it is held back if it doesn't.
    ///
    /// # Cancellation
    ///
    /// The future is dropped when nobody follows any more, or the pool is gone.
    fn discover(&mut self) -> Discovering<'_>;

    /// This source, with every upstream that it finds changed: its weight, its limits, its tags.
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

impl<D: Discover + ?Sized> Discover for Box<D> {
    fn discover(&mut self) -> Discovering<'_> {
        (**self).discover()
    }
}

/// The newest set in the channel counts. When all senders are gone, the pool stays as it is.
impl Discover for mpsc::Receiver<Vec<Upstream>> {
    fn discover(&mut self) -> Discovering<'_> {
        Box::pin(async {
            let mut newest = self.recv().await?;
            while let Ok(newer) = self.try_recv() {
                newest = newer;
            }
            Some(Ok(newest))
        })
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

//! Source that reads a `watch` channel.

use tokio::sync::watch;

use super::discover::{Discover, DiscoverFuture};
use crate::upstream::upstream::Upstream;

/// Source that reads a `watch` channel: its value at the start, and each later one.
///
/// When all senders are gone, the pool stays as it is.
///
/// # Examples
///
/// ```
/// use tokio::sync::watch;
/// use wsplice::{Pool, Upstream, discovery::WatchSource};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (upstreams, receiver) = watch::channel(vec![Upstream::new("ws://10.0.0.1:8080")?]);
/// let pool = Pool::from_upstreams([]).build();
/// let follow = pool.follow(WatchSource::new(receiver));
/// follow.ready(std::time::Duration::from_secs(5)).await?;
/// assert_eq!(pool.len(), 1);
///
/// // Later, when they have changed:
/// upstreams.send_replace(vec![]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct WatchSource {
    receiver: watch::Receiver<Vec<Upstream>>,
}

impl WatchSource {
    /// Creates a source from this receiver, starting with its current value.
    #[must_use]
    pub fn new(mut receiver: watch::Receiver<Vec<Upstream>>) -> Self {
        receiver.mark_changed();
        Self { receiver }
    }
}

impl Discover for WatchSource {
    fn discover(&mut self) -> DiscoverFuture<'_> {
        Box::pin(async {
            self.receiver.changed().await.ok()?;
            Some(Ok(self.receiver.borrow_and_update().clone()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::discovery::testing::upstreams;

    #[tokio::test]
    async fn the_value_at_the_start_counts_and_so_does_the_last_before_the_end() {
        let (sender, receiver) = watch::channel(upstreams(&["a"]));
        let mut source = WatchSource::new(receiver);
        assert_eq!(source.discover().await.unwrap().unwrap(), upstreams(&["a"]));
        sender.send_replace(upstreams(&["a", "b"]));
        sender.send_replace(Vec::new());
        drop(sender);
        assert!(source.discover().await.unwrap().unwrap().is_empty());
        assert!(source.discover().await.is_none());
    }
}

//! Source that reads sets of upstreams from a stream.

use std::{fmt, future::poll_fn, pin::Pin};

use futures_core::Stream;

use super::{
    discover::{Discover, DiscoverFuture},
    error::DiscoverError,
};
use crate::{error::BoxError, upstream::upstream::Upstream};

/// Source that reads complete sets of upstreams, or errors, from a stream.
///
/// When the stream ends, the pool stays as it is.
///
/// # Examples
///
/// ```
/// use futures_util::stream;
/// use wsplice::{Pool, Upstream, discovery::StreamSource};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let upstreams = vec![Upstream::new("ws://10.0.0.1:8080")?];
/// let pool = Pool::from_upstreams([]).build();
/// let sets = stream::iter([Ok::<_, std::io::Error>(upstreams)]);
/// let follow = pool.follow(StreamSource::new(sets));
/// follow.ready(std::time::Duration::from_secs(5)).await?;
/// assert_eq!(pool.len(), 1);
/// # Ok(())
/// # }
/// ```
pub struct StreamSource<S> {
    stream: Pin<Box<S>>,
}

impl<S, E> StreamSource<S>
where
    S: Stream<Item = Result<Vec<Upstream>, E>> + Send,
    E: Into<BoxError>,
{
    /// Creates a source from this stream.
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self {
            stream: Box::pin(stream),
        }
    }
}

impl<S, E> Discover for StreamSource<S>
where
    S: Stream<Item = Result<Vec<Upstream>, E>> + Send,
    E: Into<BoxError>,
{
    fn discover(&mut self) -> DiscoverFuture<'_> {
        Box::pin(async {
            let next = poll_fn(|cx| self.stream.as_mut().poll_next(cx)).await?;
            Some(next.map_err(DiscoverError::failed))
        })
    }
}

impl<S> fmt::Debug for StreamSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSource").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;
    use crate::upstream::discovery::testing::upstreams;

    #[tokio::test]
    async fn sets_failures_and_the_end_are_yielded_in_order() {
        let next = [Ok(upstreams(&["a"])), Err("no answer"), Ok(Vec::new())];
        let mut source = StreamSource::new(stream::iter(next));
        assert_eq!(source.discover().await.unwrap().unwrap(), upstreams(&["a"]));
        let failure = source.discover().await.unwrap().unwrap_err();
        assert!(failure.to_string().contains("no answer"), "{failure}");
        assert!(source.discover().await.unwrap().unwrap().is_empty());
        assert!(source.discover().await.is_none());
    }
}

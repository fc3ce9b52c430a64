//! Source that reads changes of a set of upstreams from a stream.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;

use super::{
    discover::{Discover, DiscoverFuture},
    error::DiscoverError,
};
use crate::{error::BoxError, net::connect::Address, upstream::upstream::Upstream};

/// Changes that are read from the stream for one set, so that an endless one cannot hold a thread.
const MAX_BATCH: usize = 1024;

/// Change of a set of upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// An upstream is new, or has new settings.
    Insert(Upstream),
    /// The upstream at this address is gone. Nothing happens if there is none.
    Remove(Address),
    /// These are all the upstreams: the first list of a service, or one after a gap in the changes.
    Replace(Vec<Upstream>),
}

/// Source that reads changes, or errors, from a stream.
///
/// The changes that are ready at the same time become one edit of the pool, up to 1,024. A change
/// that changes nothing is none. When the stream ends, the pool stays as it is.
///
/// A service that sends its complete list first should send it as [`Change::Replace`]: the pool is
/// [ready](crate::pool::DiscoveryHandle::ready) then, even if the list is empty. With the first insert
/// alone, the pool would be ready with one upstream.
///
/// # Examples
///
/// ```
/// use futures_util::stream;
/// use wsplice::{Pool, Upstream, discovery::{Change, ChangeSource}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (a, b) = (Upstream::new("ws://10.0.0.1:8080")?, Upstream::new("ws://10.0.0.2:8080")?);
/// let changes = [
///     Change::Replace(vec![a.clone()]),
///     Change::Insert(b),
///     Change::Remove(a.address().clone()),
/// ];
/// let pool = Pool::from_upstreams([]).build();
/// let changes = stream::iter(changes.map(Ok::<_, std::io::Error>));
/// let follow = pool.follow(ChangeSource::new(changes));
/// follow.ready(std::time::Duration::from_secs(5)).await?;
/// assert_eq!(pool.len(), 1);
/// # Ok(())
/// # }
/// ```
pub struct ChangeSource<S> {
    stream: Pin<Box<S>>,
    set: UpstreamSet,
    /// Error that came after changes, which are yielded first.
    error: Option<DiscoverError>,
    has_ended: bool,
}

impl<S, E> ChangeSource<S>
where
    S: Stream<Item = Result<Change, E>> + Send,
    E: Into<BoxError>,
{
    /// Creates a source from this stream, with no upstreams.
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self {
            stream: Box::pin(stream),
            set: UpstreamSet::default(),
            error: None,
            has_ended: false,
        }
    }

    fn poll_set(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Vec<Upstream>, DiscoverError>>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let mut has_changed = false;
        for _ in 0..MAX_BATCH {
            if self.has_ended {
                break;
            }
            match self.stream.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(change))) => has_changed |= self.set.apply(change),
                Poll::Ready(Some(Err(error))) => {
                    let error = DiscoverError::failed(error);
                    if !has_changed {
                        return Poll::Ready(Some(Err(error)));
                    }
                    self.error = Some(error);
                    break;
                }
                Poll::Ready(None) => self.has_ended = true,
                Poll::Pending if has_changed => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        match has_changed {
            true => Poll::Ready(Some(Ok(self.set.upstreams()))),
            false if self.has_ended => Poll::Ready(None),
            false => {
                // A whole batch without a change: the others get their turn.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl<S, E> Discover for ChangeSource<S>
where
    S: Stream<Item = Result<Change, E>> + Send,
    E: Into<BoxError>,
{
    fn discover(&mut self) -> DiscoverFuture<'_> {
        Box::pin(poll_fn(|cx| self.poll_set(cx)))
    }
}

impl<S> fmt::Debug for ChangeSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeSource")
            .field("upstreams", &self.set.by_place.len())
            .finish_non_exhaustive()
    }
}

/// Upstreams in the order in which they came, by address.
#[derive(Debug, Default)]
struct UpstreamSet {
    by_place: BTreeMap<u64, Upstream>,
    places: HashMap<Address, u64>,
    next_place: u64,
    /// Whether the set is known, be it empty.
    is_known: bool,
}

impl UpstreamSet {
    /// Applies a change. False if it changes nothing.
    fn apply(&mut self, change: Change) -> bool {
        let was_known = std::mem::replace(&mut self.is_known, true);
        let has_changed = match change {
            Change::Insert(upstream) => self.insert(upstream),
            Change::Remove(address) => self.remove(&address),
            Change::Replace(upstreams) => self.replace(upstreams),
        };
        has_changed || !was_known
    }

    fn insert(&mut self, upstream: Upstream) -> bool {
        if let Some(place) = self.places.get(upstream.address()) {
            let before = self.by_place.insert(*place, upstream.clone());
            return before.as_ref() != Some(&upstream);
        }
        self.places
            .insert(upstream.address().clone(), self.next_place);
        self.by_place.insert(self.next_place, upstream);
        self.next_place += 1;
        true
    }

    fn remove(&mut self, address: &Address) -> bool {
        let place = self.places.remove(address);
        place.is_some_and(|place| self.by_place.remove(&place).is_some())
    }

    /// Of several upstreams at one address the first counts, as in a pool.
    fn replace(&mut self, upstreams: Vec<Upstream>) -> bool {
        let mut new = Self::default();
        for upstream in upstreams {
            if !new.places.contains_key(upstream.address()) {
                new.insert(upstream);
            }
        }
        let is_same = self.places.len() == new.places.len()
            && new.by_place.values().all(|upstream| {
                let place = self.places.get(upstream.address());
                place.and_then(|place| self.by_place.get(place)) == Some(upstream)
            });
        self.by_place = new.by_place;
        self.places = new.places;
        self.next_place = new.next_place;
        !is_same
    }

    fn upstreams(&self) -> Vec<Upstream> {
        self.by_place.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use futures_util::stream;
    use proptest::prelude::*;
    use tokio::sync::Notify;

    use super::*;
    use crate::upstream::discovery::testing::upstreams;

    fn insert(host: &str) -> Change {
        Change::Insert(upstreams(&[host]).remove(0))
    }

    fn remove(host: &str) -> Change {
        Change::Remove(Address::tcp(host, 80))
    }

    fn source(
        changes: Vec<Result<Change, &'static str>>,
    ) -> ChangeSource<impl Stream<Item = Result<Change, &'static str>>> {
        ChangeSource::new(stream::iter(changes))
    }

    #[tokio::test]
    async fn changes_that_are_ready_together_are_one_set_and_failures_come_between() {
        let mut source = source(vec![
            Ok(insert("a")),
            Ok(insert("b")),
            Ok(remove("a")),
            Err("no answer"),
            Ok(remove("nothing")),
            Ok(Change::Replace(upstreams(&["b"]))),
            Ok(insert("c")),
        ]);
        assert_eq!(source.discover().await.unwrap().unwrap(), upstreams(&["b"]));
        let failure = source.discover().await.unwrap().unwrap_err();
        assert!(failure.to_string().contains("no answer"), "{failure}");
        assert_eq!(
            source.discover().await.unwrap().unwrap(),
            upstreams(&["b", "c"])
        );
        assert!(source.discover().await.is_none());
    }

    #[tokio::test]
    async fn an_empty_list_is_a_set_and_a_change_of_nothing_is_none() {
        let mut source = source(vec![Ok(Change::Replace(Vec::new()))]);
        assert!(source.discover().await.unwrap().unwrap().is_empty());
        assert!(source.discover().await.is_none());
    }

    #[tokio::test]
    async fn an_endless_stream_of_changes_yields_sets_and_one_of_none_lets_others_run() {
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(insert("a")));
        let mut source = ChangeSource::new(endless);
        assert_eq!(source.discover().await.unwrap().unwrap(), upstreams(&["a"]));
        let other = Arc::new(Notify::new());
        let notify = Arc::clone(&other);
        let task = tokio::spawn(async move { source.discover().await });
        tokio::spawn(async move { notify.notify_one() });
        other.notified().await;
        task.abort();
    }

    proptest! {
        /// A map is the oracle.
        #[test]
        fn a_set_is_what_its_changes_make_it(
            changes in prop::collection::vec((0_u8..3, "[abc]", 1_u32..3), 0..40)
        ) {
            let mut set = UpstreamSet::default();
            let mut oracle = BTreeMap::new();
            for (kind, host, weight) in changes {
                let upstream = upstreams(&[&host]).remove(0).weight(weight);
                let before = oracle.clone();
                let change = match kind {
                    0 => {
                        oracle.insert(host, upstream.clone());
                        Change::Insert(upstream)
                    }
                    1 => {
                        oracle.remove(&host);
                        remove(&host)
                    }
                    _ => {
                        oracle = [(host, upstream.clone())].into();
                        Change::Replace(vec![upstream])
                    }
                };
                let was_known = set.is_known;
                prop_assert_eq!(set.apply(change), oracle != before || !was_known);
                let mut found = set.upstreams();
                found.sort_by(|a, b| a.name().cmp(b.name()));
                prop_assert_eq!(found, oracle.values().cloned().collect::<Vec<_>>());
            }
        }
    }
}

//! Source that merges several sources.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::{
    discover::{Discover, DiscoverFuture},
    error::DiscoverError,
    next_set::next_set,
};
use crate::upstream::upstream::Upstream;

/// Longest wait for the first results of all sources, once there is one.
const FIRST_RESULTS: Duration = Duration::from_secs(5);

/// Call of a source, which returns the source too.
type Call = Pin<Box<dyn Future<Output = (Box<dyn Discover>, Found)> + Send>>;

type Found = Option<Result<Vec<Upstream>, DiscoverError>>;

/// Source that merges several sources into one set: the union of their last sets. Of upstreams at
/// the same address, the one of the source that was added first counts.
///
/// A source that fails keeps its last set, and so does one that ends. The first set comes when each
/// source has given a set, failed or ended, but no later than five seconds after the first one of
/// them has: half of the upstreams would be a wrong set at the start, and one silent source must
/// not hold up the others.
///
/// # Examples
///
/// ```
/// use tokio::sync::watch;
/// use wsplice::{Pool, Upstream, discovery::{Discover, MergeSources, StaticSource, WatchSource}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let spare = Upstream::new("ws://10.1.0.1:8080")?;
/// let (_sender, receiver) = watch::channel(vec![Upstream::new("ws://10.0.0.1:8080")?]);
/// let both = MergeSources::new()
///     .source(WatchSource::new(receiver))
///     .source(StaticSource::new([spare]).each(|upstream| upstream.tag("zone", "b")));
/// let pool = Pool::from_upstreams([]).build();
/// let follow = pool.follow(both);
/// follow.ready(std::time::Duration::from_secs(5)).await?;
/// assert_eq!(pool.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct MergeSources {
    sources: Vec<Source>,
    /// End of the wait for the first results; the wait begins with the first set.
    first_results: Option<Pin<Box<Sleep>>>,
    has_begun: bool,
    /// Whether a set is to be yielded.
    has_changed: bool,
    is_ordered: bool,
    /// Whether a failure is next, if there is a set to be yielded too.
    failure_is_next: bool,
}

/// One of the sources.
struct Source {
    state: State,
    /// Its last set.
    set: Option<Vec<Upstream>>,
    has_result: bool,
    /// Its failure, which is to be yielded before it is called again.
    failure: Option<DiscoverError>,
}

/// The future of a call owns the source, so that results of others do not cancel it.
enum State {
    Idle(Box<dyn Discover>),
    Calling(Call),
    Ended,
}

impl MergeSources {
    /// Creates a source that merges none; it ends at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a source.
    #[must_use]
    pub fn source(mut self, source: impl Discover + 'static) -> Self {
        self.is_ordered |= source.is_ordered();
        self.sources.push(Source {
            state: State::Idle(Box::new(source)),
            set: None,
            has_result: false,
            failure: None,
        });
        self
    }

    fn poll_found(&mut self, cx: &mut Context<'_>) -> Poll<Found> {
        // Each source gets one turn, so one that is always ready cannot starve the others.
        for source in &mut self.sources {
            self.has_changed |= source.poll_set(cx).is_ready();
        }
        let has_set = self.has_changed && (self.has_begun || self.poll_first_results(cx));
        if self.failure_is_next || !has_set {
            self.failure_is_next = false;
            let mut sources = self.sources.iter_mut();
            if let Some(failure) = sources.find_map(|source| source.failure.take()) {
                return Poll::Ready(Some(Err(failure)));
            }
        }
        if has_set {
            (self.has_begun, self.has_changed, self.failure_is_next) = (true, false, true);
            return Poll::Ready(Some(Ok(self.union())));
        }
        match self.sources.iter().all(Source::has_ended) {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    }

    /// Whether all sources have had a result, or have had their time.
    fn poll_first_results(&mut self, cx: &mut Context<'_>) -> bool {
        if self.sources.iter().all(|source| source.has_result) {
            return true;
        }
        let wait = self
            .first_results
            .get_or_insert_with(|| Box::pin(sleep(FIRST_RESULTS)));
        wait.as_mut().poll(cx).is_ready()
    }

    /// Returns the last sets of all sources. The pool uses the first of several upstreams at the
    /// same address.
    fn union(&self) -> Vec<Upstream> {
        let sets = self.sources.iter().filter_map(|source| source.set.as_ref());
        sets.flatten().cloned().collect()
    }
}

impl Source {
    /// Ready if there is a new set.
    fn poll_set(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.failure.is_some() {
            return Poll::Pending;
        }
        let mut calling = match std::mem::replace(&mut self.state, State::Ended) {
            State::Idle(source) => call(source),
            State::Calling(calling) => calling,
            State::Ended => return Poll::Pending,
        };
        let Poll::Ready((source, found)) = calling.as_mut().poll(cx) else {
            self.state = State::Calling(calling);
            return Poll::Pending;
        };
        self.has_result = true;
        let Some(found) = found else {
            return Poll::Pending;
        };
        self.state = State::Idle(source);
        match found {
            Ok(set) => {
                self.set = Some(set);
                Poll::Ready(())
            }
            Err(failure) => {
                self.failure = Some(failure);
                Poll::Pending
            }
        }
    }

    const fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended) && self.failure.is_none()
    }
}

fn call(mut source: Box<dyn Discover>) -> Call {
    Box::pin(async move {
        let found = next_set(&mut *source).await;
        (source, found)
    })
}

impl Discover for MergeSources {
    fn discover(&mut self) -> DiscoverFuture<'_> {
        Box::pin(poll_fn(|cx| self.poll_found(cx)))
    }

    /// Whether that of any source is.
    fn is_ordered(&self) -> bool {
        self.is_ordered
    }
}

impl fmt::Debug for MergeSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MergeSources")
            .field("sources", &self.sources.len())
            .field("has_begun", &self.has_begun)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        sync::mpsc,
        time::{Instant, timeout},
    };

    use super::*;
    use crate::upstream::discovery::{StaticSource, testing::upstreams};

    /// Source that yields what the test sends, and panics at an empty error.
    #[derive(Debug)]
    struct Scripted(mpsc::UnboundedReceiver<Result<Vec<Upstream>, &'static str>>);

    impl Discover for Scripted {
        fn discover(&mut self) -> DiscoverFuture<'_> {
            Box::pin(async {
                let next = self.0.recv().await?;
                assert_ne!(next, Err(""), "it fell");
                Some(next.map_err(DiscoverError::failed))
            })
        }
    }

    type Script = mpsc::UnboundedSender<Result<Vec<Upstream>, &'static str>>;

    fn scripted() -> (Script, Scripted) {
        let (script, receiver) = mpsc::unbounded_channel();
        (script, Scripted(receiver))
    }

    fn two() -> (MergeSources, Script, Script) {
        let ((a, source_a), (b, source_b)) = (scripted(), scripted());
        (MergeSources::new().source(source_a).source(source_b), a, b)
    }

    /// The next result: the hosts, or the error.
    async fn next(merged: &mut MergeSources) -> String {
        let found = timeout(Duration::from_secs(60), merged.discover()).await;
        match found.expect("a result") {
            Some(Ok(set)) => {
                let names: Vec<_> = set
                    .iter()
                    .map(|it| it.name().trim_end_matches(":80"))
                    .collect();
                names.join(" ")
            }
            Some(Err(error)) => error.to_string(),
            None => "end".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sets_of_several_sources_are_one_and_a_failure_or_an_end_takes_none_away() {
        let (mut merged, a, b) = two();
        a.send(Ok(upstreams(&["a", "c"]))).unwrap();
        b.send(Ok(upstreams(&["b"]))).unwrap();
        assert_eq!(next(&mut merged).await, "a c b");
        b.send(Ok(upstreams(&["b", "d"]))).unwrap();
        assert_eq!(next(&mut merged).await, "a c b d");
        a.send(Err("no answer")).unwrap();
        assert_eq!(next(&mut merged).await, "no answer");
        drop(a);
        b.send(Ok(Vec::new())).unwrap();
        assert_eq!(next(&mut merged).await, "a c");
        drop(b);
        assert_eq!(next(&mut merged).await, "end");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_set_waits_for_all_sources_but_not_for_ever() {
        let (mut merged, a, b) = two();
        a.send(Ok(upstreams(&["a"]))).unwrap();
        let began = Instant::now();
        assert_eq!(next(&mut merged).await, "a");
        assert_eq!(began.elapsed().as_secs(), 5);
        b.send(Ok(upstreams(&["b"]))).unwrap();
        assert_eq!(next(&mut merged).await, "a b");

        let (mut merged, a, b) = two();
        b.send(Err("no answer")).unwrap();
        a.send(Ok(upstreams(&["a"]))).unwrap();
        let began = Instant::now();
        assert_eq!(next(&mut merged).await, "a");
        assert_eq!(next(&mut merged).await, "no answer");
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_panics_or_is_always_ready_leaves_the_others_alone() {
        let (mut merged, a, b) = two();
        a.send(Err("")).unwrap();
        a.send(Ok(upstreams(&["a"]))).unwrap();
        b.send(Ok(upstreams(&["b"]))).unwrap();
        assert_eq!(next(&mut merged).await, "b");
        assert_eq!(next(&mut merged).await, "the source panicked");
        assert_eq!(next(&mut merged).await, "a b");

        let always = futures_util::stream::repeat_with(|| Err::<Vec<Upstream>, _>("no"));
        let mut merged = MergeSources::new()
            .source(crate::upstream::discovery::StreamSource::new(always))
            .source(StaticSource::new(upstreams(&["b"])));
        assert_eq!(next(&mut merged).await, "b");
        for _ in 0..3 {
            assert_eq!(next(&mut merged).await, "no");
        }
    }
}

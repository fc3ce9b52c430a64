//! A pool that follows a source of upstreams.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Weak},
    task::Poll,
    time::Duration,
};

use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    task::{self, catch_panic},
    upstream::Upstream,
    upstream::discovery::{Discover, DiscoverError, Discovering},
};

use super::{handle::Pool, settings::PoolSettings, state::State};

/// The shortest time from a failure of a source to the next question, for sources that do not
/// wait by themselves.
const BREATH: Duration = Duration::from_millis(100);

impl Pool {
    /// Makes the upstreams that the source tells the pool's, from now on: each set replaces all
    /// that the pool has, edits by hand included. See [`discovery`](crate::discovery).
    ///
    /// It goes by the settings of this handle, so make them before. It goes on until the [`DiscoveryHandle`] is dropped, the pool is (its last clone, and the last
    /// tunnel), or the source ends. What was found last stays. A pool should follow one source at
    /// a time.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use wsplice::{Pool, Upstream, discovery::PollSource};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::from_upstreams([]);
    /// let follow = pool.follow(PollSource::new(Duration::from_secs(10), || async {
    ///     Ok(vec![Upstream::from_address(wsplice::connect::Address::tcp("10.0.0.1", 8080))])
    /// }));
    /// follow.ready(Duration::from_secs(5)).await?; // or clients get 503 meanwhile
    /// assert_eq!(pool.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow(&self, source: impl Discover + 'static) -> DiscoveryHandle {
        let (tells, status) = watch::channel(DiscoveryStatus::default());
        let follower = Follower {
            state: Arc::downgrade(&self.state),
            pool_is: self.state.presence(),
            settings: Arc::clone(&self.settings),
            source: Box::new(source),
            status: tells,
        };
        DiscoveryHandle {
            task: Some(task::spawn(follower.run())),
            status,
        }
    }
}

/// A pool follows a source for as long as this is held.
#[must_use = "the pool stops following when this is dropped"]
pub struct DiscoveryHandle {
    /// `None` once it goes on by itself.
    task: Option<AbortHandle>,
    status: watch::Receiver<DiscoveryStatus>,
}

/// How following a source goes.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DiscoveryStatus {
    /// When the source told a set of upstreams last.
    pub found_at: Option<Instant>,
    /// Failures since then.
    pub failures: u64,
    /// The last of them.
    pub last_failure: Option<DiscoverError>,
}

impl DiscoveryHandle {
    /// Waits until the source has told its first set of upstreams, empty or not.
    ///
    /// # Errors
    ///
    /// It took longer than this, or the source has ended: its last failure, if there was one.
    pub async fn ready(&self, within: Duration) -> Result<(), DiscoverError> {
        let mut status = self.status.clone();
        let found = status.wait_for(|status| status.found_at.is_some());
        let why_not = match timeout(within, found).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(_)) => DiscoverError::Ended,
            Err(_) => DiscoverError::TimedOut { after: within },
        };
        Err(self.status().last_failure.unwrap_or(why_not))
    }

    /// How it goes.
    #[must_use]
    pub fn status(&self) -> DiscoveryStatus {
        self.status.borrow().clone()
    }

    /// Whether the pool follows no more, because the source has ended or the pool is gone.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.status.has_changed().is_err()
    }

    /// Goes on until the pool is gone or the source ends, without this being held.
    pub fn detach(mut self) {
        self.task = None;
    }
}

impl Drop for DiscoveryHandle {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl fmt::Debug for DiscoveryHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoveryHandle")
            .field("status", &*self.status.borrow())
            .field("is_over", &self.is_over())
            .finish_non_exhaustive()
    }
}

/// The task that follows. It does not keep the pool alive, and ends when the pool does.
struct Follower {
    state: Weak<State>,
    /// Its sender is the pool's, and never sends.
    pool_is: watch::Receiver<()>,
    settings: Arc<PoolSettings>,
    source: Box<dyn Discover>,
    status: watch::Sender<DiscoveryStatus>,
}

impl Follower {
    async fn run(mut self) {
        while let Some(found) = while_pool_is(&mut self.pool_is, ask(&mut *self.source)).await {
            let Some(pool) = self.pool() else { return };
            let held_up = match found {
                Some(Ok(upstreams)) => {
                    self.take(&pool, upstreams);
                    false
                }
                Some(Err(error)) => {
                    self.note(&pool, error);
                    true
                }
                None => {
                    tracing::debug!("the source of upstreams has ended");
                    return;
                }
            };
            drop(pool);
            if held_up {
                while_pool_is(&mut self.pool_is, sleep(BREATH)).await;
            }
        }
    }

    fn pool(&self) -> Option<Pool> {
        let state = self.state.upgrade()?;
        Some(Pool::from_parts(state, Arc::clone(&self.settings)))
    }

    fn take(&self, pool: &Pool, upstreams: Vec<Upstream>) {
        match catch_panic(|| pool.replace(upstreams)) {
            Ok(true) => tracing::info!(upstreams = pool.len(), "upstreams changed"),
            Ok(false) => {}
            // The panic itself was told by the panic hook.
            Err(_) => tracing::error!("a policy or an observer panicked"),
        }
        let before = self.status.send_replace(DiscoveryStatus {
            found_at: Some(Instant::now()),
            ..DiscoveryStatus::default()
        });
        if before.failures > 0 {
            tracing::info!(failures = before.failures, "upstreams are found again");
        }
    }

    fn note(&self, pool: &Pool, error: DiscoverError) {
        let kept = pool.len();
        match self.status.borrow().failures {
            0 => tracing::warn!(%error, kept, "upstreams cannot be found"),
            _ => tracing::debug!(%error, kept, "upstreams still cannot be found"),
        }
        for observer in pool.state.news.observers() {
            if catch_panic(|| observer.discovery_failed(&error)).is_err() {
                tracing::error!("an observer panicked");
            }
        }
        self.status.send_modify(|status| {
            status.failures += 1;
            status.last_failure = Some(error);
        });
    }
}

/// What the source tells next. One that panics has failed, and is asked again.
async fn ask(source: &mut dyn Discover) -> Option<Result<Vec<Upstream>, DiscoverError>> {
    let mut source = Some(source);
    let mut asked: Option<Discovering<'_>> = None;
    poll_fn(|cx| {
        let poll = || {
            if let Some(source) = source.take() {
                asked = Some(source.discover());
            }
            let asked = asked.as_mut();
            asked.map_or(Poll::Ready(None), |asked| asked.as_mut().poll(cx))
        };
        catch_panic(poll).unwrap_or_else(|_| {
            let panicked = DiscoverError::failed("the source panicked");
            Poll::Ready(Some(Err(panicked)))
        })
    })
    .await
}

/// What the future yields, unless the pool is gone before.
async fn while_pool_is<F: Future>(
    pool_is: &mut watch::Receiver<()>,
    future: F,
) -> Option<F::Output> {
    let mut gone = pin!(pool_is.changed());
    let mut future = pin!(future);
    poll_fn(|cx| match gone.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(None),
        Poll::Pending => future.as_mut().poll(cx).map(Some),
    })
    .await
}

#[cfg(test)]
mod tests;

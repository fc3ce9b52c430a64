//! Discovery of a pool: a task that follows a source of upstreams.

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
    escaped::Escaped,
    task::{self, catch_panic},
    upstream::Upstream,
    upstream::discovery::{Discover, DiscoverError, next_set},
};

use super::{member_set::unless_same_set, state::PoolState};

/// Shortest time between two sets of a source, for sources that are always ready.
const MIN_SET_INTERVAL: Duration = Duration::from_millis(10);

/// Minimum delay after a failure of a source, for sources that do not delay by themselves.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Starts the task that replaces the pool's upstreams with each set from the source.
pub(super) fn follow(state: &Arc<PoolState>, source: Box<dyn Discover>) -> DiscoveryHandle {
    let (sender, status) = watch::channel(DiscoveryStatus::default());
    let follower = Follower {
        state: Arc::downgrade(state),
        pool_alive: state.alive(),
        source,
        status: sender,
    };
    DiscoveryHandle {
        task: Some(task::spawn(follower.run())),
        status,
    }
}

/// Handle of the task that follows a source; dropping it ends the task.
#[must_use = "the pool stops following when this is dropped"]
pub struct DiscoveryHandle {
    /// `None` once the task is detached.
    task: Option<AbortHandle>,
    status: watch::Receiver<DiscoveryStatus>,
}

/// Status of the task that follows a source.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DiscoveryStatus {
    /// Time of the source's last set of upstreams.
    pub found_at: Option<Instant>,
    /// Number of failures since then.
    pub failures: u64,
    /// Last failure since then.
    pub last_failure: Option<DiscoverError>,
}

impl DiscoveryHandle {
    /// Waits for the source's first set of upstreams, empty or not.
    ///
    /// # Errors
    ///
    /// The timeout is over, or the source has ended: the source's last failure, if there was one.
    pub async fn ready(&self, within: Duration) -> Result<(), DiscoverError> {
        let mut status = self.status.clone();
        let found = status.wait_for(|status| status.found_at.is_some());
        let failure = match timeout(within, found).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(_)) => DiscoverError::Ended,
            Err(_) => DiscoverError::TimedOut { after: within },
        };
        Err(self.status().last_failure.unwrap_or(failure))
    }

    /// Returns the current status.
    #[must_use]
    pub fn status(&self) -> DiscoveryStatus {
        self.status.borrow().clone()
    }

    /// Whether the task has ended, because the source has ended or the pool is gone.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.status.has_changed().is_err()
    }

    /// Lets the task go on without the handle, until the pool is gone or the source ends.
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

/// Task that follows a source. It does not keep the pool alive, and ends with the pool.
struct Follower {
    state: Weak<PoolState>,
    /// Its sender is the pool's, never sends, and is dropped with the pool.
    pool_alive: watch::Receiver<()>,
    source: Box<dyn Discover>,
    status: watch::Sender<DiscoveryStatus>,
}

impl Follower {
    async fn run(mut self) {
        while let Some(found) =
            while_pool_alive(&mut self.pool_alive, next_set(&mut *self.source)).await
        {
            let Some(pool) = self.state.upgrade() else {
                return;
            };
            let delay = match found {
                Some(Ok(upstreams)) => {
                    self.apply(&pool, upstreams);
                    MIN_SET_INTERVAL
                }
                Some(Err(error)) => {
                    self.record_failure(&pool, error);
                    MIN_RETRY_DELAY
                }
                None => {
                    tracing::debug!("the source of upstreams has ended");
                    return;
                }
            };
            drop(pool);
            while_pool_alive(&mut self.pool_alive, sleep(delay)).await;
        }
    }

    fn apply(&self, pool: &PoolState, upstreams: Vec<Upstream>) {
        let is_ordered = self.source.is_ordered();
        let edit = |current| match is_ordered {
            true => upstreams,
            false => unless_same_set(current, upstreams),
        };
        match catch_panic(|| pool.edit(edit, Instant::now())) {
            Ok(true) => tracing::info!(upstreams = pool.len(), "upstreams changed"),
            Ok(false) => {}
            // The panic hook has reported the panic itself.
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

    fn record_failure(&self, pool: &PoolState, error: DiscoverError) {
        let kept = pool.len();
        match self.status.borrow().failures {
            0 => tracing::warn!(
                error = %Escaped(format_args!("{error:#}")),
                kept,
                "upstreams cannot be found"
            ),
            _ => tracing::debug!(
                error = %Escaped(format_args!("{error:#}")),
                kept,
                "upstreams still cannot be found"
            ),
        }
        let name = pool.settings().name.as_deref();
        for observer in pool.notifier.observers() {
            if catch_panic(|| observer.discovery_failed(name, &error)).is_err() {
                tracing::error!("an observer panicked");
            }
        }
        self.status.send_modify(|status| {
            status.failures += 1;
            status.last_failure = Some(error);
        });
    }
}

/// Runs the future until the pool is gone.
async fn while_pool_alive<F: Future>(
    pool_alive: &mut watch::Receiver<()>,
    future: F,
) -> Option<F::Output> {
    let mut gone = pin!(pool_alive.changed());
    let mut future = pin!(future);
    poll_fn(|cx| match gone.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(None),
        Poll::Pending => future.as_mut().poll(cx).map(Some),
    })
    .await
}

#[cfg(test)]
mod tests;

//! The crate's only `tokio::spawn`, and its only use of the threads that may block.

use std::{
    any::Any,
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll},
};

use tokio::task::JoinSet;

use tokio::task::AbortHandle;

/// Runs a future to its end on the current runtime.
///
/// The future must own what accounts for it (a lease, a place in the registry), so that dropping
/// it, at its end, with the runtime or by the handle, settles the account.
pub(crate) fn spawn<F>(future: F) -> AbortHandle
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(future).abort_handle()
}

/// Tasks that end with their owner: dropping this stops them where they stand.
#[derive(Debug)]
pub(crate) struct Tasks<T>(JoinSet<T>);

impl<T: Send + 'static> Tasks<T> {
    pub(crate) fn new() -> Self {
        Self(JoinSet::new())
    }

    pub(crate) fn start(&mut self, future: impl Future<Output = T> + Send + 'static) {
        self.0.spawn(future);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What one of them came to; `None` if it panicked. Pending while there is none.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match self.0.poll_join_next(cx) {
            Poll::Ready(Some(finished)) => Poll::Ready(finished.ok()),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// Calls what is the user's, so that a panic in it ends no task of ours.
///
/// What it worked on must be dropped then, or be whole after every step.
///
/// # Errors
///
/// The panic.
pub(crate) fn catch_panic<T>(call: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(call))
}

/// Runs what blocks, such as reading files, where that holds nobody up.
///
/// # Errors
///
/// The work's own, and its panic.
pub(crate) async fn blocking<T>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T>
where
    T: Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}

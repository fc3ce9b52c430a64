//! The crate's only `tokio::spawn`, and its only use of the threads that may block.

use std::{future::Future, io};

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

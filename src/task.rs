//! The crate's only `tokio::spawn`.

use std::future::Future;

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

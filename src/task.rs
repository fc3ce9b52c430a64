//! The crate's only `tokio::spawn`.

use std::future::Future;

/// Runs a future to its end on the current runtime.
///
/// The future must own what accounts for it (a lease, a place in the registry), so that dropping
/// it, at its end or with the runtime, settles the account.
pub(crate) fn spawn<F>(future: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(future);
}

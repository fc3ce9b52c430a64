//! The one bound on every wait of a test.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

/// How long a test waits for anything before it fails.
///
/// Far above what a loaded machine needs, so that it is never the thing under test.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Awaits `future`, for at most [`DEADLINE`].
///
/// # Panics
///
/// When the time is up, with a sentence that names `what` was awaited.
pub(crate) async fn within<F: Future>(what: impl Display, future: F) -> F::Output {
    match timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {DEADLINE:?} in vain for {what}"),
    }
}

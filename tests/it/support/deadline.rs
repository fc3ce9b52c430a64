//! The time limit of every wait of a test.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

/// The longest wait of a test before it fails.
///
/// The limit is far above the needs of a loaded machine, so that it is never the thing under test.
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

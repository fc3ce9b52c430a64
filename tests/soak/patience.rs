//! Bounds that a pause of the machine does not use up.

use std::{pin::pin, time::Duration};

use tokio::time::timeout;

/// Part of a bound. A pause, however long, costs one of them.
const TICK: Duration = Duration::from_secs(1);

/// Waits for the result of a future; `None` after this much time in which the process could run.
///
/// A single timer has passed after a pause of the machine before any party had a chance to go on.
pub(crate) async fn within<T>(bound: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..bound.as_secs() / TICK.as_secs() {
        if let Ok(output) = timeout(TICK, &mut future).await {
            return Some(output);
        }
    }
    None
}

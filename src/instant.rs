//! Adding to a moment without leaving what the clock can show.

use std::time::Duration;

use tokio::time::Instant;

/// Far enough to mean never, and near enough for every platform's clock: about 30 years.
pub(crate) const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The moment so much later, or far in the future if that is further than [`FAR`].
pub(crate) fn saturating_add(at: Instant, by: Duration) -> Instant {
    at + by.min(FAR)
}

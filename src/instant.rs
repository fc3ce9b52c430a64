//! Instant arithmetic that saturates instead of leaving the clock's range.

use std::time::Duration;

use tokio::time::Instant;

/// Far enough to mean never, and near enough for every platform's clock: about 30 years.
pub(crate) const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Returns `at + by`, or `at` plus [`FAR`] where `by` is longer than that.
pub(crate) fn saturating_add(at: Instant, by: Duration) -> Instant {
    at + by.min(FAR)
}

//! Retries of all requests of a pool.

use tokio::time::Instant;

use crate::upstream::retry::{Cost, Withdrawal};

use super::handle::Pool;

/// Counts of a pool's retries; see [`Pool::retries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryStatus {
    /// Retries since the pool was created.
    pub made: u64,
    /// Retries that the budget has denied since then: the request ended with the result of its last
    /// attempt.
    pub denied: u64,
    /// Number of further retries that are allowed now; five times as many after failures to
    /// connect.
    pub left: u64,
}

impl Pool {
    /// Returns the counts of retries over all layers, and the rest of the budget; see
    /// [`PoolBuilder::retry_budget`](super::PoolBuilder::retry_budget).
    #[must_use]
    pub fn retries(&self) -> RetryStatus {
        let mut window = self.state.retry_window();
        RetryStatus {
            made: window.made(),
            denied: window.denied(),
            left: window.remaining(
                &self.state.settings().retry_budget,
                Cost::Request,
                Instant::now(),
            ),
        }
    }

    /// Deposits the share of a request whose first attempt has ended.
    pub(crate) fn count_request(&self, now: Instant) {
        self.state.retry_window().deposit(now);
    }

    /// Withdraws a retry from the budget, if it has enough left.
    pub(crate) fn withdraw_retry(&self, cost: Cost, now: Instant) -> Option<Withdrawal> {
        let budget = &self.state.settings().retry_budget;
        self.state.retry_window().withdraw(budget, cost, now)
    }

    /// Refunds a retry that was not made.
    pub(crate) fn refund_retry(&self, withdrawal: Withdrawal) {
        self.state.retry_window().refund(withdrawal);
    }
}

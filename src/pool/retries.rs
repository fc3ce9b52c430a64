//! The retries of all requests of a pool.

use tokio::time::Instant;

use crate::upstream::retry::{Cost, Entry};

use super::handle::Pool;

/// What has become of a pool's retries; see [`Pool::retries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryStatus {
    /// Retries that were made since the pool began.
    pub made: u64,
    /// Retries that the budget has denied since then: the request got what its last attempt had
    /// come to.
    pub denied: u64,
    /// How many more may be made at this moment; five times as many if they follow failures to
    /// connect.
    pub left: u64,
}

impl Pool {
    /// The pool's retries at this moment, over all its layers and clones, by the budget of this
    /// handle; see [`Pool::retry_budget`].
    #[must_use]
    pub fn retries(&self) -> RetryStatus {
        let mut ledger = self.state.retries();
        RetryStatus {
            made: ledger.made(),
            denied: ledger.denied(),
            left: ledger.left(&self.settings.retry_budget, Cost::Request, Instant::now()),
        }
    }

    /// Counts a request whose first attempt has ended.
    pub(crate) fn count_request(&self, now: Instant) {
        self.state.retries().request(now);
    }

    /// Draws a retry from the budget, if there is one left.
    pub(crate) fn draw_retry(&self, cost: Cost, now: Instant) -> Option<Entry> {
        let budget = &self.settings.retry_budget;
        self.state.retries().retry(budget, cost, now)
    }

    /// Gives back one that was not made after all.
    pub(crate) fn give_back_retry(&self, entry: Entry) {
        self.state.retries().strike(entry);
    }
}

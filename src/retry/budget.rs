//! How many retries there may be over all requests of a pool.

use super::ledger::SECONDS;

/// Holds down the retries of all requests of a pool together, so that an outage is not multiplied
/// by the attempts that each client may make.
///
/// Over the last 10 seconds there may be this share of retries for each request, plus so many for
/// each of these seconds, which keeps a pool with little traffic able to retry at all: unless set
/// 20 %, and 10 a second. So 1,000 clients that meet a full outage make at most 1,300 attempts.
/// Beyond the budget a request gets at once what its last attempt came to. A request counts when
/// its first attempt has ended, well or not; retries count whatever they are for, a connection
/// that was not made included.
///
/// All layers and clones of a [`Pool`](crate::Pool) draw from the same budget.
///
/// # Examples
///
/// ```
/// use wsplice::{Pool, RetryBudget};
///
/// let pool = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?
///     .retry_budget(RetryBudget::new().share(0.1).per_second(50));
/// # let _ = pool;
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct RetryBudget {
    share: f64,
    per_second: u32,
}

impl RetryBudget {
    /// A retry for every fifth request, and 10 a second.
    pub const fn new() -> Self {
        Self {
            share: 0.2,
            per_second: 10,
        }
    }

    /// Retries for each request of the last 10 seconds: 0.2 means 20 %. What is below 0, or no
    /// number, is taken for 0.
    pub fn share(mut self, share: f64) -> Self {
        self.share = share.max(0.0);
        self
    }

    /// Retries for each second, whether or not there are requests. Those of 10 seconds may be made
    /// at once.
    pub const fn per_second(mut self, retries: u32) -> Self {
        self.per_second = retries;
        self
    }

    /// How many retries there may be in a window with so many requests.
    pub(super) fn allows(&self, requests: u64) -> u64 {
        let by_share = self.share * requests as f64;
        let by_time = u64::from(self.per_second) * SECONDS;
        // A hair is added for what rounding took: a fifth of five is one. The cast saturates.
        ((by_share + 1e-6) as u64).saturating_add(by_time)
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

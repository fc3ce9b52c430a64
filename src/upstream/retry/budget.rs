//! How many retries there may be over all requests of a pool.

use super::ledger::SECONDS;

/// Holds down the retries of all requests of a pool together, so that an outage is not multiplied
/// by the attempts that each client may make.
///
/// Over the last 10 seconds there may be this share of retries for each request, plus so many for
/// each of these seconds, which keeps a pool with little traffic able to retry at all: unless set
/// 20 %, and 10 a second. A request counts when its first attempt has ended, well or not.
///
/// A retry after a failure to connect counts a fifth. It costs the upstreams little, and whoever
/// finds a dead upstream needs one: so by default every client may meet one that is dead, until
/// probes or clients have found out. Where 1,000 clients meet a full outage at once, they make at
/// most 2,500 attempts to connect, or 1,300 that send their request.
///
/// Beyond the budget a request gets at once what its last attempt came to.
///
/// All layers and clones of a [`Pool`](crate::Pool) draw from the same budget.
///
/// # Examples
///
/// ```
/// use wsplice::{Pool, RetryBudget};
///
/// let pool = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?
///     .retry_budget(RetryBudget::new().ratio(0.1).per_second(50));
/// # let _ = pool;
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct RetryBudget {
    ratio: f64,
    per_second: u32,
}

impl RetryBudget {
    /// A retry for every fifth request, and 10 a second.
    pub const fn new() -> Self {
        Self {
            ratio: 0.2,
            per_second: 10,
        }
    }

    /// Retries for each request of the last 10 seconds: 0.2 means 20 %. What is below 0, or no
    /// number, is taken for 0.
    pub fn ratio(mut self, ratio: f64) -> Self {
        self.ratio = ratio.max(0.0);
        self
    }

    /// Retries for each second, whether or not there are requests. Those of 10 seconds may be made
    /// at once.
    pub const fn per_second(mut self, retries: u32) -> Self {
        self.per_second = retries;
        self
    }

    /// What the retries of a window with so many requests may cost.
    pub(super) fn allows(&self, requests: u64) -> u64 {
        let retry = Cost::Request.units();
        let by_share = self.ratio * requests as f64 * retry as f64;
        let by_time = u64::from(self.per_second) * SECONDS * retry;
        // A hair is added for what rounding took: a fifth of five is one. The cast saturates.
        ((by_share + 1e-6) as u64).saturating_add(by_time)
    }
}

/// What a retry costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    /// The attempt before got no connection.
    Connect,
    /// The attempt before had sent the request.
    Request,
}

impl Cost {
    pub(super) const fn units(self) -> u64 {
        match self {
            Self::Connect => 1,
            Self::Request => 5,
        }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

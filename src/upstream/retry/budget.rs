//! Retry budget: the settings that limit the retries of all requests of a pool.

/// Length of the budget's window in seconds, including the current one.
pub(super) const WINDOW_SECONDS: u64 = 10;

/// Limits the retries of all requests of a pool together, so that an outage is not multiplied by
/// the attempts that each client may make.
///
/// The window is the last 10 seconds. A request adds its share to the budget when its first attempt
/// has ended, successful or not; each second adds a fixed number, so that a pool with little
/// traffic can retry at all.
///
/// A retry after a failure to connect costs a fifth. It costs the upstreams little, and every
/// client that picks a dead upstream needs one: by default every client may meet one dead upstream
/// until probes or clients have detected it. If 1,000 clients meet a full outage at once, they make
/// at most 2,500 attempts to connect, or 1,300 that send their request.
///
/// A request beyond the budget ends at once with the result of its last attempt.
///
/// All layers and clones of a [`Pool`](crate::Pool) share one budget.
///
/// # Defaults
///
/// | method | default | unit | why |
/// |---|---|---|---|
/// | [`ratio`](Self::ratio) | 0.2 | retries per request | an outage adds a fifth to the load, at most |
/// | [`per_second`](Self::per_second) | 10 | retries a second | a quiet pool can retry |
///
/// # Examples
///
/// ```
/// use wsplice::{Pool, pool::RetryBudget};
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
    /// Returns a budget with the defaults above.
    pub const fn new() -> Self {
        Self {
            ratio: 0.2,
            per_second: 10,
        }
    }

    /// Sets the retries for each request of the last 10 seconds: 0.2 means 20 %. Negative numbers
    /// and NaN count as 0.
    pub fn ratio(mut self, ratio: f64) -> Self {
        self.ratio = ratio.max(0.0);
        self
    }

    /// Sets the retries for each second, independent of requests. Those of 10 seconds may be made
    /// at once.
    pub const fn per_second(mut self, retries: u32) -> Self {
        self.per_second = retries;
        self
    }

    /// Returns the cost that the retries of a window with this number of requests may have in
    /// total.
    pub(super) fn allows(&self, requests: u64) -> u64 {
        let retry = Cost::Request.units();
        let by_share = self.ratio * requests as f64 * retry as f64;
        let by_time = u64::from(self.per_second) * WINDOW_SECONDS * retry;
        // The small addend makes up for rounding: a fifth of five is one. The cast saturates.
        ((by_share + 1e-6) as u64).saturating_add(by_time)
    }
}

/// Cost of a retry, by the attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    /// The failed attempt got no connection.
    Connect,
    /// The failed attempt had sent the request.
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

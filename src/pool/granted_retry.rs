//! A retry that a pool's budget has granted.

use tokio::time::Instant;

use crate::upstream::retry::{Cost, Withdrawal};

use super::state::PoolState;

/// Retry that the pool's budget has granted. Unless it is [made](Self::made), it is refunded on drop:
/// when no upstream could be leased for it, or its client did not wait for one.
#[must_use]
pub(crate) struct GrantedRetry<'a> {
    pool: &'a PoolState,
    withdrawal: Withdrawal,
}

impl<'a> GrantedRetry<'a> {
    /// Withdraws a retry from the budget, if that has enough left.
    pub(super) fn withdraw(pool: &'a PoolState, cost: Cost) -> Option<Self> {
        let budget = &pool.settings().retry_budget;
        let mut window = pool.retry_window();
        let withdrawal = window.withdraw(budget, cost, Instant::now())?;
        Some(Self { pool, withdrawal })
    }

    /// Spends the retry, which begins.
    pub(crate) fn made(self) {
        self.pool.retry_window().count_made();
        std::mem::forget(self);
    }
}

impl Drop for GrantedRetry<'_> {
    fn drop(&mut self) {
        self.pool.retry_window().refund(self.withdrawal);
    }
}

//! A retry that a pool's budget has granted.

use tokio::time::Instant;

use crate::upstream::retry::{Cost, Withdrawal};

use super::handle::Pool;

/// Retry that the pool's budget has granted. Unless it is [made](Self::made), it is refunded on drop:
/// when no upstream could be leased for it, or its client did not wait for one.
#[must_use]
pub(crate) struct GrantedRetry<'a> {
    pool: &'a Pool,
    withdrawal: Option<Withdrawal>,
}

impl Pool {
    /// Withdraws a retry from the budget, if it has enough left.
    pub(crate) fn grant_retry(&self, cost: Cost) -> Option<GrantedRetry<'_>> {
        let budget = &self.state.settings().retry_budget;
        let withdrawal = self
            .state
            .retry_window()
            .withdraw(budget, cost, Instant::now())?;
        Some(GrantedRetry {
            pool: self,
            withdrawal: Some(withdrawal),
        })
    }
}

impl GrantedRetry<'_> {
    /// Spends the retry, which begins.
    pub(crate) fn made(mut self) {
        self.withdrawal = None;
    }
}

impl Drop for GrantedRetry<'_> {
    fn drop(&mut self) {
        if let Some(withdrawal) = self.withdrawal.take() {
            self.pool.state.retry_window().refund(withdrawal);
        }
    }
}

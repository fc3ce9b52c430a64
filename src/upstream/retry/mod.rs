//! Retries: whether a request that failed at one upstream is tried at another. Pure.
//!
//! * `condition` defines [`RetryOn`]: the kinds of failures;
//! * `policy` defines [`Retry`]: the failures that are retried, the number of attempts, their time;
//! * `budget` defines [`RetryBudget`]: the limit on the retries of all requests;
//! * `budget_window` counts requests and retries over the last seconds.

mod budget;
mod budget_window;
mod condition;
mod policy;

pub(crate) use budget::Cost;
pub use budget::RetryBudget;
pub(crate) use budget_window::{BudgetWindow, Withdrawal};
pub use condition::RetryOn;
pub use policy::Retry;

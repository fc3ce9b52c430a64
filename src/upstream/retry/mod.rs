//! When a request that came to nothing at one upstream may be tried at another.
//!
//! * `rules` is [`Retry`]: what of one request may be tried again, how often, for how long;
//! * `budget` is [`RetryBudget`]: how many retries there may be over all requests;
//! * `ledger` counts requests and retries over the last seconds; time is an argument.

mod budget;
mod ledger;
mod rules;

pub(crate) use budget::Cost;
pub use budget::RetryBudget;
pub(crate) use ledger::{Entry, Ledger};
pub use rules::Retry;

//! When a request that came to nothing at one upstream may be tried at another.
//!
//! * `rules` is [`Retry`]: what of one request may be tried again, how often, for how long.

mod rules;

pub use rules::Retry;

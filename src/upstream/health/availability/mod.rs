//! Availability policies: the use of unhealthy upstreams when few are healthy.
//!
//! [`PoolBuilder::availability`](crate::pool::PoolBuilder::availability) sets the policy of a pool;
//! [`Availability`] is the trait, and its page lists the policies.

mod admitted;
mod fail_closed;
mod health_counts;
mod keep_last;
mod max_ejection_percent;
mod panic_threshold;
mod policy;
mod standard;
mod upstream_health;

#[cfg(test)]
mod tests;

pub use self::{
    admitted::Admitted,
    fail_closed::FailClosed,
    health_counts::HealthCounts,
    keep_last::KeepLast,
    max_ejection_percent::MaxEjectionPercent,
    panic_threshold::PanicThreshold,
    policy::{Availability, Either},
    standard::Standard,
    upstream_health::UpstreamHealth,
};

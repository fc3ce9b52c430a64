//! Availability policies: the use of unhealthy upstreams when few are healthy.
//!
//! [`PoolBuilder::availability`](crate::pool::PoolBuilder::availability) sets the policy of a pool;
//! [`Availability`] is the trait, and its page lists the policies.
//!
//! | in a policy of your own, you want | take |
//! |---|---|
//! | to choose among the pool's upstreams by their health | [`Availability::admit`], which gets an [`UpstreamHealth`] of each and returns [`Admitted`] |
//! | to know whether one is healthy, what made it unhealthy, and when | [`UpstreamHealth::is_healthy`], [`ejected_by`](UpstreamHealth::ejected_by), [`unhealthy_since`](UpstreamHealth::unhealthy_since) |
//! | no look at the whole pool after each change, while numbers show that the healthy upstreams are used | [`Availability::uses_the_healthy`], which gets [`HealthCounts`] |
//! | the share of the healthy upstreams, by weight | [`HealthCounts::healthy_share`]; its parts: [`healthy_weight`](HealthCounts::healthy_weight), [`weightless`](HealthCounts::weightless) |
//! | the number of those that clients' news or the operator made unhealthy | [`HealthCounts::by_clients`], [`forced`](HealthCounts::forced) |

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

//! Health policies: when an upstream counts as unhealthy.

mod combine;
mod connects;
mod consecutive;
mod consecutive_counts;
mod failure_rate;
mod health_policy;
mod max_fails;
mod passive;
mod plural;
mod slow_handshake;
mod upstream_view;

pub use self::{
    combine::{AllOf, AnyOf},
    consecutive::Consecutive,
    failure_rate::FailureRate,
    health_policy::{HealthEvaluator, HealthPolicy, Verdict},
    max_fails::MaxFails,
    passive::Passive,
    slow_handshake::SlowHandshake,
    upstream_view::UpstreamView,
};

//! Health policies: when an upstream counts as unhealthy.

mod combine;
mod consecutive;
mod consecutive_counts;
mod failure_rate;
mod health_policy;
mod max_fails;
mod passive;
mod plural;
mod slow_handshake;

pub use self::{
    combine::{AllOf, AnyOf},
    consecutive::Consecutive,
    failure_rate::FailureRate,
    health_policy::{HealthEvaluator, HealthPolicy, Verdict},
    max_fails::MaxFails,
    passive::Passive,
    slow_handshake::SlowHandshake,
};

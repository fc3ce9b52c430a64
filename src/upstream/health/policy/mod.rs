//! Health policies: when an upstream counts as unhealthy.

mod combine;
mod consecutive;
mod consecutive_counts;
mod failure_rate;
mod max_fails;
mod passive;
mod plural;
mod slow_handshake;
mod traits;

pub use self::{
    combine::{AllOf, AnyOf},
    consecutive::Consecutive,
    failure_rate::FailureRate,
    max_fails::MaxFails,
    passive::Passive,
    slow_handshake::SlowHandshake,
    traits::{HealthEvaluator, HealthPolicy, Verdict},
};

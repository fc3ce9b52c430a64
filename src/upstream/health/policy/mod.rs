//! When an upstream is taken for unhealthy.

mod combine;
mod consecutive;
mod failure_rate;
mod max_fails;
mod passive;
mod consecutive_counts;
mod slow_handshake;
mod traits;
mod plural;

pub use self::{
    combine::{AllOf, AnyOf},
    consecutive::Consecutive,
    failure_rate::FailureRate,
    max_fails::MaxFails,
    passive::Passive,
    slow_handshake::SlowHandshake,
    traits::{HealthPolicy, HealthEvaluator, Verdict},
};

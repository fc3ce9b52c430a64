//! Keep-alive: when to ping a leg, and when it is dead. Pure: `(event, now) -> action`.
//!
//! `settings` has the users' settings, `schedule` the moments at which quiet tunnels are pinged
//! together, `pinger` the state of one leg.

mod pinger;
mod schedule;
mod settings;

#[cfg(test)]
mod tests;

pub use settings::KeepAlive;
pub(super) use {
    pinger::{Action, Pinger, Signs},
    schedule::PingSchedule,
};

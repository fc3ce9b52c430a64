//! When to ping a leg, and when to call it dead. Pure: `(event, now) -> action`.
//!
//! `settings` is what users set, `schedule` when quiet tunnels are pinged together, `pinger` the
//! state of one leg.

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

//! The open tunnels: list, count, close.
//!
//! * `listing` is the [`Registry`], and the guard that keeps a tunnel in it;
//! * `group` holds the tunnels that are closed together, those of one upstream for example;
//! * `entry` is one tunnel as the others see it: its figures, and the commands that it gets;
//! * `command` says what a tunnel can be commanded, and which of several commands counts;
//! * `status` is what a tunnel shows of itself while it runs.

mod command;
mod entry;
mod group;
mod listing;
mod status;

pub(crate) use command::Command;
pub(crate) use entry::Entry;
pub(crate) use group::TunnelGroup;
pub use listing::Registry;
pub(crate) use listing::RegistryGuard;
pub use status::{LegStatus, TunnelStatus};

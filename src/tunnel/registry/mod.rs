//! The open tunnels: list, count, close.
//!
//! | you want | take |
//! |---|---|
//! | to list, count, close or move tunnels | [`Registry`], of [`ProxyLayer::registry`](crate::ProxyLayer::registry) |
//! | those of one user or tenant | [`Registry::close_by_key`] and its siblings, [`Drain::run_by_key`](crate::Drain::run_by_key); of one release, room or kind: [`by_label`] |
//! | the figures of one that is open | [`TunnelStatus`], with a [`LegStatus`] for each side |
//! | the figures of one layer, where several share a registry | [`LayerTunnels`], of [`ProxyLayer::tunnels`](crate::ProxyLayer::tunnels) |
//! | the bytes and messages of all tunnels together | [`Traffic`], a [`DirectionTraffic`] for each direction |
//!
//! * `registry` is the [`Registry`], `shared` the state that its clones have in common;
//! * `part` is a part of it, the tunnels of one layer ([`LayerTunnels`], in `layer_tunnels`) or those
//!   that the host runs by itself; `tables` are its parts' tables;
//! * `table` has the entries of a part's tunnels, `key_index` finds those of a key;
//! * `entrance` lists a tunnel in a part, `guard` keeps it there;
//! * `predicates` pick tunnels by the facts of their host;
//! * `group` holds the tunnels that are closed together, those of one upstream for example;
//! * `ids` numbers them;
//! * `entry` is one tunnel as other tasks see it: its figures, and the commands to it;
//! * `command` has the commands to a tunnel, and their precedence;
//! * `move_order` has the orders to move one to another upstream;
//! * `deadlines` closes tunnels at the moments that their host set;
//! * `drain_state` is whether new ones are refused, and the forwarded requests under way;
//! * `status` has the figures of a running tunnel.

mod command;
mod deadlines;
mod drain_state;
mod entrance;
mod entry;
mod group;
mod guard;
mod ids;
mod key_index;
mod layer_tunnels;
mod move_order;
mod part;
mod predicates;
#[allow(clippy::module_inception)]
pub(crate) mod registry;
mod shared;
mod status;
mod table;
mod tables;

pub(crate) use command::{Command, Revocable};
pub(crate) use drain_state::InFlightRequest;
pub(crate) use entry::{Departure, Entry};
pub(crate) use group::TunnelGroup;
pub(crate) use guard::RegistryGuard;
pub use layer_tunnels::LayerTunnels;
pub(crate) use move_order::MoveOrder;
pub use predicates::{by_key, by_label};
pub(crate) use registry::Registry;
pub use status::{DirectionTraffic, LegStatus, Traffic, TunnelStatus};

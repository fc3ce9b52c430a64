//! Engine of a tunnel: carries out the decisions of the pure modules.
//!
//! * `tunnel` is the future: it polls until nothing more can be done, and sets the alarm;
//! * `splice` polls the flows and takes commands;
//! * `deadlines` computes the next deadline, and acts on those that have passed;
//! * `closing` reports events to the state machine of `end` and carries out its orders;
//! * `reattaching` detaches a lost upstream, and `attaching` attaches the next one;
//! * `moving` leaves an upstream on order, once another one was found;
//! * `state`, `ending` and `reattachment` are the state of the tunnel, and `parts` is what it is made of.

mod attaching;
mod closing;
mod deadlines;
mod ending;
mod moving;
mod parts;
mod reattaching;
mod reattachment;
mod splice;
mod state;
mod tunnel;

#[cfg(test)]
mod rig;
#[cfg(test)]
mod tests;

pub(crate) use parts::{NextUpstream, ReattachParts, Search, TunnelParts};
pub(crate) use reattaching::close_at_once;
pub use tunnel::Tunnel;
pub(crate) use tunnel::{OnEnd, TaskAffinity};

//! State machine of a tunnel's end, without io and without a clock.
//!
//! The state of each leg (`state`) is the last that came from it ([`Said`](state::Said)) and the
//! last that went to it ([`Given`]). Events of the flows change it; [`step`] maps the states of
//! both legs to the action on one of them, or to the bound of its wait (`bounds`). The engine
//! reports the events and carries out the orders; all decisions about an end are made here.
//!
//! The table of `step` is in `ARCHITECTURE.md`, and the tests read it there.

mod bounds;
mod machine;
mod state;
mod step;

#[cfg(test)]
mod tests;

pub(super) use {
    bounds::{Bounds, Facts},
    machine::{End, Order},
    state::{Ask, Given, LegEvent, Reach},
};

//! How a tunnel ends: one state machine, without io and without a clock.
//!
//! For each leg it knows what the leg has [`Said`] and what it was [`Given`] (`state`). Events of
//! the flows change these; [`step`] looks at both legs and says what is to be done to one of them,
//! or how long it may stay as it is (`bounds`). The engine reports the events, obeys the orders,
//! and decides nothing of its own about an end.
//!
//! The table of `step` stands in `ARCHITECTURE.md`, and the tests read it there.

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

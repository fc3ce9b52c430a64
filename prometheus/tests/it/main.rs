//! Each metric is moved by what it counts, in memory and on a paused clock.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod events;
mod kit;
mod layers;
mod random;
mod series;

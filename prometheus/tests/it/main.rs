//! Each metric is moved by what it counts, in memory and on a paused clock.

mod events;
mod kit;
mod random;
mod series;

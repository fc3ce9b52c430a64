//! Tests of pools on a paused clock, without a socket.

mod availability;
mod close_orders;
mod drains;
mod first_probes;
mod half_open;
mod health;
mod kit;
mod monitor;
mod news;
mod outliers;
mod panics;
mod probes;

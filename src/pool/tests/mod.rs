//! Tests of pools on a paused clock, without a socket.

mod close_orders;
mod drains;
mod half_open;
mod health;
mod kit;
mod monitor;
mod news;
mod outliers;
mod probes;

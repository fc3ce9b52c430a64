//! Tests of pools on a paused clock, without a socket.

mod drains;
mod health;
mod kit;
mod losses;
mod monitor;
mod outliers;
mod probes;

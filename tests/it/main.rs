//! Integration tests: real sockets, real clients.
//!
//! One binary, one file per behaviour; [`support`] is the kit they are written with.
// Clippy's "allow in tests" covers `#[test]` functions only, and the kit fails a test by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;
mod support_works;

mod drain_sockets;
mod hosts;
mod registry_sockets;
mod tunnel_data;
mod tunnel_ends;
mod tunnel_load;
mod tunnel_memory;

//! Integration tests: real sockets, real clients.
//!
//! One binary, one file per behaviour; [`support`] is the kit they are written with.
// Clippy's "allow in tests" covers `#[test]` functions only, and the kit fails a test by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;
mod support_works;

mod balance;
mod hosts;
#[cfg(feature = "sticky")]
mod sticky;

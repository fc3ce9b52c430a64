//! Frame tracking of one direction: counts frames, remembers the close, removes pongs to our pings.
//! Pure: bytes in, a decision out.
//!
//! `tracker` follows the frames, `guard` checks them against rules and limits, `capture` keeps the
//! close frame.

mod capture;
mod guard;
mod tracker;

pub(super) use {
    guard::{Breach, Guard},
    tracker::{Awaited, Place, ScanResult, Track},
};

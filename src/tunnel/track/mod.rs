//! Frame tracking of one direction: counts frames, remembers the close, removes pongs to our pings.
//! Pure: bytes in, a decision out.
//!
//! `tracker` follows the frames, `guard` checks them against rules and limits, `capture` keeps the
//! close frame, and `unanswered` counts the pings that wait for a pong.

mod capture;
mod guard;
mod tracker;
mod unanswered;

pub(super) use {
    guard::{Breach, Guard},
    tracker::{Awaited, Place, ScanResult, Track},
    unanswered::UnansweredPings,
};

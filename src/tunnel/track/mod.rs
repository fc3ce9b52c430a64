//! What one direction's bytes mean: frames counted, closes remembered, our pongs taken out.
//! Pure: bytes in, a decision out.
//!
//! `tracker` follows the frames, `guard` judges them by rules and limits, `capture` keeps the close
//! frame, and `unanswered` counts the pings that wait for a pong.

mod capture;
mod guard;
mod tracker;
mod unanswered;

pub(super) use {
    guard::{Breach, Guard},
    tracker::{Awaited, Place, ScanResult, Track},
    unanswered::UnansweredPings,
};

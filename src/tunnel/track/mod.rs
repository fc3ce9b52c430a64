//! What one direction's bytes mean: frames counted, closes remembered, our pongs taken out.
//! Pure: bytes in, a decision out.
//!
//! `tracker` follows the frames, `guard` judges them by rules and limits, `capture` keeps the close
//! frame.

mod capture;
mod guard;
mod tracker;

pub(super) use {
    guard::{Breach, Guard},
    tracker::{Awaited, Place, ScanResult, Track},
};

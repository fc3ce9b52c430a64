//! Frame tracking of one direction: counts frames, remembers the close, removes pongs to our pings.
//! Pure: bytes in, a decision out.
//!
//! `tracker` follows the frames, `guard` checks them against rules and limits, `scan_result` is what
//! became of a chunk, `awaited` recognizes control frames that are not forwarded, `capture` keeps the
//! close frame, `unanswered` counts the pings that wait for a pong, and `position` is a place between
//! messages or within one.

mod awaited;
mod capture;
mod guard;
mod position;
mod scan_result;
mod tracker;
mod unanswered;

pub(super) use {
    awaited::{Awaited, FilterFrom},
    guard::{Breach, Guard},
    position::{Position, data_frames},
    scan_result::ScanResult,
    tracker::{Place, Track},
    unanswered::UnansweredPings,
};

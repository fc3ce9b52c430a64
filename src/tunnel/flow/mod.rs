//! One direction of a tunnel. The tunnel has two; this is the only pump.
//!
//! `pump` is its state: it moves bytes and reports events. `read` reads the source and scans what
//! came, `write` serves the sink. `held` is what comes before the source's next bytes, `outgoing`
//! what the sink has still to take.

mod held;
mod outgoing;
mod pump;
mod read;
mod write;

pub(super) use pump::{Event, Flow};

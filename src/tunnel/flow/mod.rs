//! One direction of a tunnel. The tunnel has two; this is the only pump.
//!
//! `pump` is its state: it moves bytes and reports events. `read` reads the source and scans the
//! bytes, `write` serves the sink. `held` has the bytes before the source's next ones, `outgoing`
//! those that the sink has still to take. `exchange_leg` is about a lost source or sink and the next one,
//! `leave` about a sink that is left for another one.

mod exchange_leg;
mod held;
mod leave;
mod outgoing;
mod pump;
mod read;
mod write;

pub(super) use pump::{Event, Flow};

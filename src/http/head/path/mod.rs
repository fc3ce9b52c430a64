//! What a path means, and to whom.
//!
//! The bytes that a client sends pass through several readers: this proxy, the upstream's
//! server, its framework, its file system. They do not agree. `/ws/..%2fprivate` lies below
//! `/ws/` for one and is `/private` for another. A proxy that decides by its own reading and
//! forwards the bytes can be talked into forwarding what it was never meant to own.
//!
//! So there is a *primary reading*, which is what everybody should understand, and there are
//! the other ones that somebody may. [`scan`] sees in one look at the bytes whether a path
//! has but one reading, as nearly every path has. For the rest, [`step`] knows each thing
//! that a reader is known to do, and [`readings`] collects all that any sequence of them
//! leads to. A request is owned when all readings agree that it is.
//!
//! [`raw`] is the view for rewriting: resolved, with the escapes of the client.

mod raw;
mod readings;
mod scan;
mod step;
#[cfg(test)]
pub(crate) mod tricky;

pub(crate) use self::raw::RawPath;
pub(crate) use self::readings::{PathReadings, comparable};

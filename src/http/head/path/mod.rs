//! The readings of a path.
//!
//! The bytes that a client sends pass through several readers: this proxy, the upstream's server,
//! its framework, its file system. They do not agree. `/ws/..%2fprivate` lies below `/ws/` for one
//! and is `/private` for another. A proxy that decides by its own reading and forwards the bytes
//! can be tricked into forwarding requests outside its routes.
//!
//! So a path has a *primary reading*, the one that every reader should get, and possibly others.
//! [`scan`] finds in one pass over the bytes whether a path has a single reading, as nearly every
//! path has. For the rest, [`step`] implements each transformation that a reader is known to make,
//! and [`readings`] collects the results of all sequences of them. A request is owned if it is
//! owned in all readings.
//!
//! [`raw`] is the view for rewriting: resolved, with the escapes of the client.

mod fold;
mod readings;
mod scan;
mod segments;
mod step;
#[cfg(test)]
pub(crate) mod strategies;

pub(crate) use self::readings::{PathReadings, comparable};
pub(crate) use self::segments::EncodedSegments;

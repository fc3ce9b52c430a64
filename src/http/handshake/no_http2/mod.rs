//! Placeholder for the HTTP/2 handshake in builds without that feature.

mod exchange;

pub(super) use exchange::exchange;

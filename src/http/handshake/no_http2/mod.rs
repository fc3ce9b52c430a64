//! Placeholder for the HTTP/2 handshake in builds without that feature.

mod body;
mod exchange;

pub(super) use body::Http2RefusalBody;
pub(super) use exchange::exchange;

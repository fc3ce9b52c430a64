//! What stands in for the exchange over HTTP/2 where it is not compiled in.

mod body;
mod exchange;

pub(super) use body::Http2RefusalBody;
pub(super) use exchange::exchange;

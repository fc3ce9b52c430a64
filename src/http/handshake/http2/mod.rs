//! The opening handshake over HTTP/2: extended `CONNECT` on a stream of a shared connection
//! (RFC 8441).
//!
//! `request` (pure) makes it out of what an upstream would get in HTTP/1.1, `exchange` sends it and
//! reads the answer, `body` is that of a refusal.

mod body;
mod exchange;
mod request;

pub(super) use body::Http2RefusalBody;
pub(super) use exchange::exchange;

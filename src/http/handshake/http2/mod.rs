//! The opening handshake over HTTP/2: extended `CONNECT` on a stream of a shared connection (RFC
//! 8441).
//!
//! * `request` (pure) translates the HTTP/1.1 request of a handshake;
//! * `exchange` sends the request and reads the response;
//! * `body` is the body of a refusal.

mod body;
mod exchange;
mod request;

pub(super) use exchange::exchange;

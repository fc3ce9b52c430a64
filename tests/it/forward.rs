//! Plain HTTP beside the WebSockets: the requests that are forwarded, their bodies and their ends.

mod kit;

mod bodies;
mod clocks;
mod connections;
mod continues;
mod counts;
mod decisions;
mod ends;
mod heads;
#[cfg(feature = "http2")]
mod http2;
mod limits;
mod losses;
mod owned;
mod retries;
mod untrusted;

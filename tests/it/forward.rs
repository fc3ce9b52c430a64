//! Plain HTTP beside the WebSockets: what is forwarded, how it streams, and how it ends.

mod kit;

mod bodies;
mod clocks;
mod connections;
mod continues;
mod counts;
mod ends;
mod heads;
#[cfg(feature = "http2")]
mod http2;
mod owned;
mod retries;
mod untrusted;

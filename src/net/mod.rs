//! Byte streams: the connections of both legs.
//!
//! * `transport` is the byte stream of a leg: TCP, a Unix socket, or anything boxed.
//! * `upgraded` finds the socket below a connection that hyper has upgraded.
//! * `lingering` is the end of a client's HTTP/2 stream.
//! * `client_stream` is the stream of a client that a server other than hyper hands over.
//! * `write_timeout` bounds the writes to a stream, for hosts.
//! * `proxy_header` reads the header of the PROXY protocol; `accept` reads it from clients.
//! * [`connect`] opens those to upstreams: addresses, TLS, HTTP/2 connections that tunnels share.

pub(crate) mod client_stream;
pub mod connect;
pub(crate) mod lingering;
pub(crate) mod proxy_header;
pub(crate) mod transport;
pub(crate) mod upgraded;
pub(crate) mod write_timeout;

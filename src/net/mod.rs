//! Byte streams: the connections of both legs.
//!
//! * `transport` is the byte stream of a leg: TCP, a Unix socket, or anything boxed.
//! * [`connect`] opens those to upstreams: addresses, TLS, HTTP/2 connections that tunnels share.

pub mod connect;
pub(crate) mod transport;

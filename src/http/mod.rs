//! HTTP: how a request is read and matched, and how it is exchanged with an upstream.
//!
//! * [`headers`], [`head`], [`matcher`] and [`upgrade`] read a request's head; they are pure.
//! * `relay` has the rules for requests to upstreams, and brings their responses to the client;
//! * `handshake` performs the opening handshake with an upstream, `forward` any other request.

pub mod head;
pub mod headers;
pub mod matcher;
pub(crate) mod upgrade;

pub(crate) mod forward;
pub mod handshake;
pub(crate) mod relay;

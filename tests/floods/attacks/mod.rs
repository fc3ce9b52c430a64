//! Attacks on proxies, a test for each class, on raw sockets.
//!
//! The tests cite the advisory of a proxy or server that fell to the class. After each of them the
//! proxy serves, and holds nothing more than before ([`kit::Arena::survived`]): no lease, no tunnel,
//! no task, no descriptor, no memory.

#[cfg(feature = "http2")]
mod extended_connect;
mod framing;
mod heads;
mod hop_by_hop;
mod identity;
mod kit;
mod routes;
mod smuggling;
mod syntax;

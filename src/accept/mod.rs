//! Connections of clients, for hosts with an accept loop or a server of their own.
//!
//! | you want | take |
//! |---|---|
//! | the client's address from a load balancer that speaks the PROXY protocol | [`AcceptProxyProtocol`] |
//! | clients that stop reading to be cut off | [`WriteTimeout`] |
//! | a server other than hyper in front of the proxy | [`ClientStream`] |
//! | to pass the client's address on to the proxy | [`ClientInfo`](crate::headers::ClientInfo) |
//!
//! A host that serves by `axum::serve` needs none of them.

mod proxy_protocol;

pub use crate::net::{client_stream::ClientStream, write_timeout::WriteTimeout};
pub use proxy_protocol::AcceptProxyProtocol;

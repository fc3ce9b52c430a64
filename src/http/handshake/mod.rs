//! Stage 5: the opening handshake on both legs.
//!
//! | you want | take |
//! |---|---|
//! | to know whether a request is a WebSocket handshake, and a valid one | [`inspect`], which returns an [`Intent`] |
//! | a handshake that is valid, by its type | [`UpgradeRequest`] |
//! | to respond to a handshake yourself | [`UpgradeRequest::accept_key`] |
//! | the reason why one is not | [`InvalidHandshake`] |
//! | to admit clients that break a rule | [`Leniency`], for [`ProxyLayer::leniency`](crate::ProxyLayer::leniency) |
//! | to make the handshake with an upstream yourself, for a [`Tunnel`](crate::tunnel::Tunnel) | [`UpstreamHandshake`], which yields an [`UpstreamResponse`]: an [`AcceptedHandshake`], or a refusal with its [`RefusedBody`], whose silence [`UpstreamHandshake::body_timeout`] bounds |
//! | the reason why a 101 was not valid | [`InvalidUpgradeResponse`] |
//!
//! * `upstream_request` (pure) builds the request to the upstream, by the rules of `http/relay`; for
//!   HTTP/1.1 it is written without a header map, unless the host changes headers;
//! * `dispatch` sends the request and reads the response (`upstream_response`): with `exchange` over
//!   HTTP/1.1, or with `http2` on a stream of a shared connection;
//! * `exchange` encodes the request (`encode`) and parses a 101 (`head_scan`), on a connection of
//!   its own. Any other response is left to hyper, from the first byte (`replay`), as is its body
//!   (`refusal`);
//! * `agreement` (pure) verifies a 101 (RFC 6455 §4.1), or a 2xx over HTTP/2 (RFC 8441 §5);
//! * `deflate` (pure) decides whether another upstream can follow an agreement on extensions;
//! * `upstream` performs the upstream's handshake for hosts that run tunnels by themselves;
//! * `client_response` (pure) builds the response to the client.
//!
//! The client's key is passed on, so that the upstream's accept key is valid for the client too.
//! HTTP/2 has no key; an HTTP/1.1 peer of an HTTP/2 peer gets one from the proxy.

mod agreement;
mod client_response;
mod deflate;
mod dispatch;
mod encode;
mod exchange;
mod head_scan;
#[cfg(feature = "http2")]
mod http2;
#[cfg(not(feature = "http2"))]
mod no_http2;
mod refusal;
mod replay;
mod upstream;
mod upstream_request;
mod upstream_response;

pub use super::upgrade::{Intent, InvalidHandshake, Leniency, UpgradeRequest, inspect};
pub use agreement::InvalidUpgradeResponse;
pub(crate) use agreement::{Agreement, Offer};
pub(crate) use client_response::{accepted_response, refused_response};
pub(crate) use deflate::AgreedExtensions;
pub(crate) use dispatch::{exchange, handshake};
#[cfg(not(feature = "http2"))]
use no_http2 as http2;
pub use upstream::{AcceptedHandshake, RefusedBody, UpstreamHandshake, UpstreamResponse};
pub(crate) use upstream_request::UpstreamRequest;
pub(crate) use upstream_response::UpgradeResponse;

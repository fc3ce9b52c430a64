//! Stage 5: the opening handshake on both legs.
//!
//! * `outbound` (pure) makes the request that the upstream gets;
//! * `dispatch` sends it and reads the response: with `exchange` in HTTP/1.1, or with `http2` on a
//!   stream of a connection that is shared;
//! * `exchange` sends it (`encode`) and reads a 101 (`head_scan`), on a connection of its own. Any
//!   other answer is left to hyper, from the first byte (`replay`), as is its body (`refusal`);
//! * `agreement` (pure) verifies a 101 (RFC 6455 §4.1), or a 2xx over HTTP/2 (RFC 8441 §5);
//! * `inbound` (pure) makes the answer that the client gets.
//!
//! The client's key is passed on, so that the upstream's proof is the client's proof too. Over
//! HTTP/2 there is none, and where the client wants one it gets ours.

mod agreement;
mod dispatch;
mod encode;
mod exchange;
mod head_limits;
mod head_scan;
#[cfg(feature = "http2")]
mod http2;
mod idle_timer;
mod inbound;
#[cfg(not(feature = "http2"))]
mod no_http2;
mod outbound;
mod refusal;
mod replay;
mod response;

pub use agreement::InvalidUpgradeResponse;
pub(crate) use agreement::{Agreement, Offer};
pub(crate) use dispatch::exchange;
pub(crate) use head_limits::HeadLimits;
pub(crate) use inbound::{
    accepted_response, adapt_version, body_length, has_unsupported_coding, prepare_response_head,
    refused_response, sanitize_trailers, set_body_length, set_supported_version,
    set_upgrade_headers,
};
#[cfg(not(feature = "http2"))]
use no_http2 as http2;
pub(crate) use outbound::{OutboundRules, handshake_request};
pub(crate) use response::{RefusalBody, UpgradeResponse};

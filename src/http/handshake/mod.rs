//! Stage 5: the opening handshake on both legs.
//!
//! * `outbound` (pure) makes the request that the upstream gets;
//! * `answer` sends it and reads the answer: with `exchange` in HTTP/1.1, or with `http2` on a
//!   stream of a connection that is shared;
//! * `exchange` sends it (`spelling`) and reads a 101 (`switching`), on a connection of its own. Any
//!   other answer is left to hyper, from the first byte (`replay`), as is its body (`refusal`);
//! * `agreement` (pure) verifies a 101 (RFC 6455 §4.1), or a 2xx over HTTP/2 (RFC 8441 §5);
//! * `inbound` (pure) makes the answer that the client gets.
//!
//! The client's key is passed on, so that the upstream's proof is the client's proof too. Over
//! HTTP/2 there is none, and where the client wants one it gets ours.

mod agreement;
mod answer;
mod exchange;
#[cfg(feature = "http2")]
mod http2;
mod inbound;
#[cfg(not(feature = "http2"))]
mod no_http2;
mod outbound;
mod refusal;
mod replay;
mod silence;
mod spelling;
mod switching;

pub use agreement::InvalidUpgradeResponse;
pub(crate) use agreement::{Agreement, Extensions, Offer};
pub(crate) use answer::{Answer, RefusalBody, exchange};
pub(crate) use exchange::HeadLimits;
pub(crate) use inbound::{
    accepted, body_length, fit, frame, has_other_coding, name_upgrade, name_version, pass_down,
    passed, refused,
};
#[cfg(not(feature = "http2"))]
use no_http2 as http2;
pub(crate) use outbound::{Outbound, outbound};

//! Stage 5: the opening handshake on both legs.
//!
//! * `outbound` (pure) makes the request that the upstream gets;
//! * `exchange` sends it (`spelling`) and reads a 101 (`switching`), on a connection of its own. Any
//!   other answer is left to hyper, from the first byte (`replay`), as is its body (`refusal`);
//! * `agreement` (pure) verifies a 101 (RFC 6455 §4.1);
//! * `inbound` (pure) makes the answer that the client gets.
//!
//! The client's key is passed on, so that the upstream's proof is the client's proof too.

mod agreement;
mod exchange;
mod inbound;
mod outbound;
mod refusal;
mod replay;
mod spelling;
mod switching;

pub use agreement::Disagreement;
pub(crate) use agreement::{Agreement, Extensions, Offer};
pub(crate) use exchange::{Answer, HeadLimits, exchange};
pub(crate) use inbound::{accepted, fit, name_upgrade, name_version, pass_down, refused};
pub(crate) use outbound::{Outbound, outbound};
pub(crate) use refusal::RefusalBody;

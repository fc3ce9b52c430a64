//! Stage 5: the opening handshake on both legs.
//!
//! * `outbound` (pure) makes the request that the upstream gets;
//! * `exchange` sends it and reads the answer, on a connection of its own, with header names in the
//!   case that `casing` gives them;
//! * `agreement` (pure) verifies a 101 (RFC 6455 §4.1);
//! * `inbound` (pure) makes the answer that the client gets.
//!
//! The client's key is passed on, so that the upstream's proof is the client's proof too.

mod agreement;
mod casing;
mod exchange;
mod inbound;
mod outbound;

pub use agreement::Disagreement;
pub(crate) use agreement::{Agreement, Extensions, Offer};
pub(crate) use exchange::{Answer, HeadLimits, RefusalBody, exchange};
pub(crate) use inbound::{accepted, fit, name_upgrade, name_version, pass_down, refused};
pub(crate) use outbound::{Outbound, outbound};

//! Stage 1: detection and validation of WebSocket opening handshakes.
//!
//! [`inspect`] reads a request's head and classifies the request ([`Intent`]). A valid handshake
//! becomes an [`UpgradeRequest`], which proves that the handshake conforms to RFC 6455 §4.2.1, so
//! later stages need not check again.
//!
//! Only `websocket` counts. A request to upgrade to another protocol (`h2c` above all) is an
//! ordinary request to this crate, and no other token is ever forwarded.

mod inspect;
mod invalid_handshake;
mod leniency;
mod request;

pub(crate) use inspect::inspect_with;
pub use inspect::{Intent, inspect};
pub use invalid_handshake::InvalidHandshake;
pub use leniency::Leniency;
pub use request::UpgradeRequest;
pub(crate) use request::generate_key;

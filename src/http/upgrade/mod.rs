//! Stage 1: is this request a WebSocket opening handshake, and a proper one?
//!
//! [`inspect`] reads a request's head and says one of three things ([`Intent`]). What it accepts
//! is an [`UpgradeRequest`]: having one proves that the handshake keeps RFC 6455 §4.2.1, so later
//! stages need not check again.
//!
//! Only `websocket` counts. A request that asks to upgrade to something else (`h2c` above all) is
//! an ordinary request to this crate, and no other token is ever forwarded.

mod inspect;
mod malformed;
mod request;

pub use inspect::{Intent, inspect};
pub use malformed::Malformed;
pub use request::UpgradeRequest;

//! Limits by key: how many tunnels and handshakes one client, user or tenant may have.
//!
//! `table` counts, and forgets the keys that it may; `limit` is the setting; `permit` is a tunnel's
//! place under a key.

mod limit;
mod permit;
mod table;

pub use limit::KeyLimit;
pub(super) use permit::{KeyLimitReached, KeyPermit};

//! Header rules of a proxy: what is read, what is dropped, what is told to the other side.

mod family;
mod hop_by_hop;
mod quoted;
mod tokens;
pub(crate) use self::hop_by_hop::strip as strip_hop_by_hop;
pub(crate) use self::tokens::{contains_token, extension_names, members};

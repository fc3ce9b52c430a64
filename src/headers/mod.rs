//! Header rules of a proxy: what is read, what is dropped, what is told to the other side.

mod quoted;
mod tokens;
pub(crate) use self::tokens::{contains_token, extension_names, members};

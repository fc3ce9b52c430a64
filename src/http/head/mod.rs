//! The head of a request, as matchers and policies see it.
//!
//! [`RequestHead`] is a borrowed view. [`PathRewrite`] changes the path on its way out.
//!
//! # The path
//!
//! What is forwarded is what the client sent, byte for byte. What is compared is a reading of
//! it, in which
//!
//! - escapes are decoded, but for those of `/`, `\`, `%`, control bytes and bytes that are
//!   not UTF-8, which stay escapes with upper-case digits. A `%` that begins no escape is
//!   written `%25`, as it should have been;
//! - empty segments are merged, but a `/` at the end stays;
//! - dot segments, escaped or not, are resolved (RFC 3986 §5.2.4).
//!
//! | sent | read as |
//! |---|---|
//! | `/%77s//x` | `/ws/x` |
//! | `/caf%C3%A9/a%2fb` | `/café/a%2Fb` |
//! | `/ws/../private` | `/private` |
//! | `/100%` | `/100%25` |
//!
//! Where the bytes hold something on which servers disagree there are more readings: dots left
//! alone, `%2F` and `\` taken for `/`, a second round of decoding, `;parameters` cut off,
//! and so forth, in whatever order. [`matcher::owns`](crate::matcher::owns) asks a matcher
//! about each of them, and a request is owned when it is owned in every one. Some paths are
//! owned by nobody: those that hide a NUL or an overlong form (`%C0%AE`), and those with so
//! much to disagree on that the readings are too many to look at.

mod escape;
mod extended_connect;
mod host;
mod path;
mod request;
mod rewrite;

pub(crate) use self::escape::split_escape;
pub(crate) use self::extended_connect::asks_by_connect;
pub(crate) use self::host::Host;
pub(crate) use self::path::comparable;
#[cfg(test)]
pub(crate) use self::path::tricky;
pub use self::request::RequestHead;
pub use self::rewrite::{InvalidPath, PathRewrite, RewriteError};

//! The head of a request, as matchers and policies see it.
//!
//! | you want | take |
//! |---|---|
//! | to read a request in a matcher, a policy or a function of yours | [`RequestHead`], a borrowed view |
//! | upstreams to get another path | [`PathRewrite`]: a prefix less or more, or [`PathRewrite::set_path`] |
//! | to mark an extended `CONNECT` in a server of yours | [`ExtendedConnect`] |
//! | the reason why a rewrite or a host is not valid | [`InvalidPath`], [`RewriteError`], [`InvalidHost`] |
//!
//! # The path
//!
//! The path is forwarded as the client sent it, byte for byte. It is compared in a normalized
//! reading, in which
//!
//! - escapes are decoded, except those of `/`, `\`, `%`, control bytes and bytes that are not
//!   UTF-8, which stay escapes with upper-case digits. A `%` that begins no escape is written
//!   `%25`;
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
//! Bytes on which servers disagree lead to further readings: dots left alone, `%2F` and `\` taken
//! for `/`, a second round of decoding, `;parameters` cut off, `／` and other look-alikes taken for
//! ASCII, the name after a `//` at the start taken for a host, and so forth, in any order.
//! [`matcher::owns`](crate::matcher::owns) evaluates a matcher on each of them, and a request is
//! owned if every reading is. Some paths are never owned: those with an escaped control byte, an
//! overlong form (`%C0%AE`) or an escape of IIS (`%u002E`), and those with too many readings to
//! evaluate.
//!
//! # The host
//!
//! A host is a name or an address with an optional port (RFC 3986 §3.2.2, without
//! percent-encoding). [`matcher::owns`](crate::matcher::owns) evaluates the conditions on a host
//! that is [invalid](InvalidHost) both as true and as false. If either way the request is owned,
//! it is rejected with 400, so that `not(host("internal"))` cannot be bypassed by an invalid
//! spelling. A request that is not owned either way reaches the inner service as it came.

mod detached;
mod escape;
mod extended_connect;
mod host;
mod mounting;
mod path;
mod request;
mod rewrite;
mod truth_assignment;

pub(crate) use self::detached::{detached_head, detached_uri, detached_value};
pub(crate) use self::escape::split_escape;
pub use self::extended_connect::ExtendedConnect;
pub(crate) use self::extended_connect::{connect_protocol, is_extended_connect};
pub(crate) use self::host::Host;
pub use self::host::InvalidHost;
pub(crate) use self::mounting::{original_uri, removed_prefix};
pub(crate) use self::path::comparable;
#[cfg(test)]
pub(crate) use self::path::strategies;
pub use self::request::RequestHead;
pub use self::rewrite::{InvalidPath, PathRewrite, RewriteError};

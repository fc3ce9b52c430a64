//! Header rules of a proxy: what is read, what is dropped, what is told to the other side.

mod client_info;
mod family;
mod forwarded;
mod hop_by_hop;
mod quoted;
mod resolve;
mod rfc7239;
mod tokens;
mod trust;
mod via;
mod write;
mod x_forwarded;
pub use self::client_info::{ClientInfo, ClientScheme};
pub use self::forwarded::ForwardedHeaders;
pub(crate) use self::hop_by_hop::strip as strip_hop_by_hop;
pub use self::resolve::resolve_client;
pub(crate) use self::tokens::{contains_token, extension_names, members};
pub use self::trust::{InvalidTrustedProxy, TrustedProxies};
pub use self::via::{InvalidPseudonym, Via};

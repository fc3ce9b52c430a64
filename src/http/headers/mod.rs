//! Header rules of a proxy, for requests and responses.
//!
//! | you want | take |
//! |---|---|
//! | headers for the upstream with one request, which no client can forge | [`UpstreamHeaders`] |
//! | headers set, added or removed in all requests or responses | [`HeaderEdits`] |
//! | other forwarded headers than `X-Forwarded-For`, `-Host` and `-Proto` | [`ForwardedHeaders`] |
//! | one of these not to be sent | [`ForwardedHeaders::without_x_forwarded_for`], [`without_x_forwarded_host`](ForwardedHeaders::without_x_forwarded_host), [`without_x_forwarded_proto`](ForwardedHeaders::without_x_forwarded_proto), [`without_x_forwarded_prefix`](ForwardedHeaders::without_x_forwarded_prefix) |
//! | `Via` | [`Via`]; [`InvalidPseudonym::pseudonym`] is a name that it cannot have |
//! | to trust the proxies in front | [`Networks`], for [`ProxyLayer::trust`](crate::ProxyLayer::trust) |
//! | to pass on what your server knows of the client | [`ClientInfo`], with a [`ClientScheme`]; [`ClientInfo::peer_ip`] is comparable where a listener has both IP versions |
//! | the client's address behind trusted proxies, in code of yours | [`resolve_client`] |
//!
//! All rules work on an [`http::HeaderMap`] alone, without a clock or a socket. The headers of the
//! upstream's request are written by these steps, in this order; the first three are one pass over the
//! client's headers, into another map or right into the encoded head:
//!
//! 1. *Hop-by-hop removal*: `Connection` and the headers that it names are removed, with the others
//!    that concern one connection only (RFC 9110 §7.6.1), and aliases of those (`Content_Length`).
//!    Matchers see the headers that are left.
//! 2. [`ForwardedHeaders`]: the client's claims about itself are dropped unless a
//!    [trusted](Networks) proxy makes them, and the facts in [`ClientInfo`] are added.
//! 3. [`Via`], if a pseudonym is set.
//! 4. [`UpstreamHeaders`]: those that the host application gives with this request.
//! 5. [`HeaderEdits`]: the user's own changes.
//! 6. The handshake's own headers, written last by the handshake.
//!
//! The order is a matter of safety. A client can name any header in `Connection`; since that is
//! honored first, the client cannot remove headers that the later steps add (CVE-2024-45410).
//!
//! A middleware in front of the proxy should therefore give its headers as [`UpstreamHeaders`], not
//! set them in the request, where a client can name them.
//!
//! Responses, the 101 included, pass steps 1, 3, 5 and 6.

mod alias;
mod checked_insert;
mod client_address;
mod client_info;
mod connection_auth;
mod edit;
mod forwarded;
mod forwarded_lines;
mod hop_by_hop;
mod name_set;
mod networks;
mod quoted;
mod reserved_names;
mod rfc7239;
mod shared_caching;
mod sink;
mod tokens;
mod untrusted;
mod upstream_headers;
mod via;
mod x_forwarded;

pub use self::client_address::resolve_client;
pub use self::client_info::{ClientInfo, ClientScheme};
pub use self::edit::{HeaderEdits, InvalidHeaderEdit};
pub use self::forwarded::ForwardedHeaders;
pub use self::networks::{InvalidNetwork, Networks};
pub use self::upstream_headers::UpstreamHeaders;
pub(crate) use self::via::protocol_version;
pub use self::via::{InvalidPseudonym, Via};

pub(crate) use self::alias::is_alias_of_managed;
pub(crate) use self::checked_insert::{append as add_header, replace as set_header};
pub(crate) use self::connection_auth::authenticates_connection;
pub(crate) use self::hop_by_hop::{
    find_nominated, is_hop_by_hop, strip as strip_hop_by_hop, strip_nominated, strip_trailers,
    without_nominated,
};
pub(crate) use self::name_set::NameSet;
pub(crate) use self::reserved_names::ReservedNames;
pub(crate) use self::shared_caching::forbid_shared_caching;
pub(crate) use self::sink::HeaderSink;
pub(crate) use self::tokens::{contains_token, extension_names, members, only_line};

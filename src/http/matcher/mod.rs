//! Stage 2: selection of the requests that the layer handles.
//!
//! A [`Matcher`] evaluates a [`RequestHead`](crate::head::RequestHead). The layer takes the
//! requests that its matcher owns and passes the others to the inner service, untouched.
//!
//! Matchers compose, as methods ([`and`](Matcher::and), [`or`](Matcher::or)) and as functions
//! ([`all`], [`any`], [`not`]). A closure is a matcher, and so is an `Arc<dyn Matcher>`.
//!
//! | you want to match on | take |
//! |---|---|
//! | the path | [`path()`], [`paths()`], `path_regex` (feature `regex`) |
//! | the method, the query | [`method()`], [`query()`] |
//! | the host | [`host()`] |
//! | the sender | [`client_ip()`], [`origin()`], [`same_origin()`] |
//! | headers | [`websocket()`], [`subprotocol()`], [`header()`] |
//! | anything else | a closure, or a [`Matcher`] of yours |
//!
//! | you want | take |
//! |---|---|
//! | a header that is absent, or has a prefix, a suffix or a part | [`HeaderPattern`] |
//! | any value of a query parameter | [`QueryPattern`] |
//! | a field for matchers of any kind | [`AnyMatcher`], by [`Matcher::boxed`] |
//! | a field for one kind, without an allocation | its type: [`PathMatcher`], `PathRegexMatcher`, [`HostMatcher`], [`HeaderMatcher`], [`QueryMatcher`], [`MethodMatcher`], [`ClientIpMatcher`], [`OriginMatcher`], [`SameOriginMatcher`], [`SubprotocolMatcher`], [`WebSocketMatcher`]; of combinations: [`And`], [`Or`], [`Not`] |
//! | the reason why an origin is not valid | [`InvalidOrigin`] |
//!
//! ```
//! use wsplice::head::RequestHead;
//! use wsplice::matcher::{Matcher, host, not, owns, path, websocket};
//!
//! let chat = path("/ws/*")
//!     .and(host("*.example.com"))
//!     .and(websocket().or(|head: &RequestHead<'_>| head.headers().contains_key("x-probe")))
//!     .and(not(path("/ws/internal/*")));
//!
//! let request = http::Request::get("http://eu.example.com/ws/room")
//!     .header("connection", "keep-alive, Upgrade")
//!     .header("upgrade", "websocket")
//!     .body(())?;
//! assert!(owns(&chat, &RequestHead::from(&request)));
//! # Ok::<(), http::Error>(())
//! ```
//!
//! # Owning is more than matching
//!
//! Servers disagree on the meaning of some paths, so a request's path may have several readings
//! ([`head`](crate::head#the-path)). [`owns`] evaluates the matcher on every one of them, and a
//! request is owned only if all match. That holds for `not(..)` and closures alike: no spelling of
//! `/private` is owned by `path("/ws/*")`, and no spelling of `/admin/x` by
//! `not(path("/admin/*"))`.

mod client_ip;
mod glob;
mod header;
mod host;
mod lists;
mod method;
mod origin;
mod ownership;
mod path;
#[cfg(feature = "regex")]
mod path_regex;
mod query;
mod subprotocol;
mod traits;
mod websocket;

pub use self::client_ip::{ClientIpMatcher, client_ip};
pub use self::header::{HeaderMatcher, HeaderPattern, header};
pub use self::host::{HostMatcher, host};
pub use self::lists::{AllOf, AnyOf, all, any};
pub use self::method::{MethodMatcher, method};
pub use self::origin::{InvalidOrigin, OriginMatcher, SameOriginMatcher, origin, same_origin};
pub use self::ownership::{may_match, owns};
pub use self::path::{PathMatcher, path, paths};
#[cfg(feature = "regex")]
#[cfg_attr(docsrs, doc(cfg(feature = "regex")))]
pub use self::path_regex::{InvalidPathRegex, PathRegexMatcher, path_regex};
pub(crate) use self::query::form_values;
pub use self::query::{QueryMatcher, QueryPattern, query};
pub use self::subprotocol::{SubprotocolMatcher, subprotocol};
pub use self::traits::{And, AnyMatcher, Matcher, Not, Or, not};
pub use self::websocket::{WebSocketMatcher, websocket};

#[cfg(test)]
mod testing;

//! Laws for what peers send, on any bytes: a fuzz target draws the bytes, and a seeded test draws them
//! from numbers. `strict` and `handshake` are a model of HTTP/1.1 and of the opening handshake, written
//! for these tests alone. `stage` has a proxy in memory, with the bytes that its upstreams received.
//!
//! | module | bytes of | laws |
//! |---|---|---|
//! | `client_request` | a client, on a connection | the upstream sees the requests that the model sees, and no others |
//! | `dns_answers` | DNS records over time | each set is that of records which the server had |
//! | `forwarded` | proxies, about the client | no more is believed than the trusted hops vouch for |
//! | `http2_translation` | both sides, of different versions | the target, the host and all other headers stay; none of a connection passes |
//! | `proxy_header` | load balancers, ahead of HTTP | a header is read as a reader of whole ones does, and not a byte more |
//! | `sticky_cookie` | a client, in cookies | an upstream is named by its own token alone |
//! | `upstream_response` | an upstream, in response to a handshake | a cut changes nothing; no byte behind the head is lost; the client gets one well-formed response |
//! | `upstream_response::forwarding` | an upstream, in response to a forwarded request | the client gets the response that the model reads, a 502, or one that is visibly incomplete; no byte of it becomes part of the next |

pub(crate) mod client_request;
#[cfg(feature = "dns")]
pub(crate) mod dns_answers;
pub(crate) mod forwarded;
pub(crate) mod garble;
pub(crate) mod handshake;
#[cfg(feature = "http2")]
pub(crate) mod http2_translation;
pub(crate) mod proxy_header;
pub(crate) mod stage;
#[cfg(feature = "sticky")]
pub(crate) mod sticky_cookie;
pub(crate) mod strict;
pub(crate) mod upstream_response;

//! Removal of the headers that concern one connection only (RFC 9110 §7.6.1).

use http::HeaderMap;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, COOKIE, EXPECT, HOST, HeaderName, MAX_FORWARDS, ORIGIN, SET_COOKIE, VIA,
    WWW_AUTHENTICATE,
};

use super::alias;
use super::name_set::NameSet;
use super::tokens::members;
use super::untrusted;

/// Headers that are removed whether or not `Connection` names them.
///
/// One list serves requests and responses: a name that belongs to one of the two has no meaning on
/// the other.
static ALWAYS_REMOVED: NameSet = NameSet::new(&[
    // Lists the others, and always concerns one hop itself (RFC 9110 §7.6.1).
    "connection",
    // Parameters of this connection's persistence, and their misnamed form for proxies (RFC 9112
    // §C.2.2).
    "keep-alive",
    "proxy-connection",
    // Registered only so that the option `close` is not taken for a header (RFC 9112 §9.6).
    "close",
    // Each sender chooses its hop's framing, and its willingness to take trailers (RFC 9112 §6.1,
    // RFC 9110 §10.1.4).
    "transfer-encoding",
    "te",
    // Announces trailers that the framing of the next hop may not carry (RFC 9110 §6.6.2).
    "trailer",
    // Requests or grants another protocol on this connection. Relaying an unknown one such as `h2c`
    // opens a tunnel past every check; the handshake writes its own (RFC 9110 §7.8).
    "upgrade",
    // Belongs to `Upgrade: h2c` (RFC 7540 §3.2.1).
    "http2-settings",
    // Names the protocols inside a CONNECT tunnel (RFC 7639 §2).
    "alpn",
    // Authentication between a client and its next proxy; the upstream must not see these
    // credentials (RFC 9110 §11.7).
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
    // The upstream's alternatives would lead the client around the proxy, or to ports that are open
    // on the inside only (RFC 7838 §3).
    "alt-svc",
]);

/// The options of nearly every `Connection` header, which name nothing beyond [`ALWAYS_REMOVED`].
const USUAL_OPTIONS: [&str; 3] = ["upgrade", "keep-alive", "close"];

/// Removes hop-by-hop headers from a request or a response, the 101 included.
///
/// This is the first step: the proxy adds its own headers afterwards, so a `Connection` line cannot
/// remove them (CVE-2024-45410). Headers on which upstreams base decisions stay even when they are
/// named; RFC 9110 §7.6.1 forbids a sender to name headers that are meant for all recipients. Of
/// other headers, a client can remove those that a layer in front of the proxy added to the request,
/// but neither [`UpstreamHeaders`](super::UpstreamHeaders) nor those of the proxy's header edits,
/// which are added later.
///
/// A relayed 426 must get `Upgrade` again (RFC 9110 §15.5.22).
pub(crate) fn strip(headers: &mut HeaderMap) {
    strip_nominated(headers);
    ALWAYS_REMOVED.remove_from(headers);
}

/// Returns whether [`strip`] removes a header of this name, even if `Connection` does not name it.
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    ALWAYS_REMOVED.contains(name)
}

/// Removes the headers that `Connection` names, and keeps those that concern the connection in any
/// case: [`strip`] removes them once they have been read.
pub(crate) fn strip_nominated(headers: &mut HeaderMap) {
    for name in nominated(headers) {
        headers.remove(name);
    }
}

/// Returns a copy of the headers without those that `Connection` names; `None` if it names none of
/// them.
///
/// A header in `keep` stays.
pub(crate) fn without_nominated(headers: &HeaderMap, keep: &[HeaderName]) -> Option<HeaderMap> {
    let names = nominated(headers);
    let mut names = names.iter().filter(|name| !keep.contains(name)).peekable();
    names.peek()?;
    let mut headers = headers.clone();
    for name in names {
        headers.remove(name);
    }
    Some(headers)
}

/// Returns the first of these names that `Connection` contains.
pub(crate) fn find_nominated<'a>(
    headers: &HeaderMap,
    names: &'a [HeaderName],
) -> Option<&'a HeaderName> {
    if names.is_empty() {
        return None;
    }
    members(headers, &CONNECTION).find_map(|option| {
        let mut names = names.iter();
        names.find(|name| option.eq_ignore_ascii_case(name.as_str().as_bytes()))
    })
}

/// Returns whether the proxy writes this header by itself, or removes it: the connection, the
/// framing, and the handshake.
pub(super) fn is_managed(name: &HeaderName) -> bool {
    name == CONTENT_LENGTH
        || ALWAYS_REMOVED.contains(name)
        || name.as_str().starts_with("sec-websocket-")
}

/// Headers that control how content is read or stored, or how a request is handled. HTTP/1.1
/// connections leave these out of trailers by themselves, but those of HTTP/2 do not (RFC 9110
/// §6.5.1).
static HEADER_SECTION_ONLY: [HeaderName; 7] = [
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_RANGE,
    CONTENT_TYPE,
    EXPECT,
    MAX_FORWARDS,
    WWW_AUTHENTICATE,
];

/// Removes headers from trailers that have a meaning only ahead of the content: framing, routing,
/// the sender's identity, and everything hop-by-hop (RFC 9110 §6.5.1). Further ones are `reserved`,
/// with their aliases.
///
/// Through an upstream that merges trailers into the headers, a client could otherwise set headers
/// that are reserved to the proxy or to the host.
pub(crate) fn strip_trailers(trailers: &mut HeaderMap, reserved: &[HeaderName]) {
    let misplaced: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| {
            is_protected(name)
                || ALWAYS_REMOVED.contains(name)
                || HEADER_SECTION_ONLY.contains(name)
                || reserved.contains(name)
        })
        .cloned()
        .collect();
    for name in &misplaced {
        trailers.remove(name);
    }
    untrusted::strip_untrusted(trailers, untrusted::Trust::Untrusted);
    alias::strip_aliases(trailers, reserved);
}

/// Returns the headers that `Connection` names and may remove, except those that
/// [`ALWAYS_REMOVED`] covers.
///
/// A handshake that names only the usual ones yields an empty list without allocation.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    members(headers, &CONNECTION)
        .filter(|option| !is_usual_option(option))
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| headers.contains_key(name))
        .filter(|name| !is_protected(name) && !ALWAYS_REMOVED.contains(name))
        .collect()
}

fn is_usual_option(option: &[u8]) -> bool {
    USUAL_OPTIONS
        .iter()
        .any(|usual| option.eq_ignore_ascii_case(usual.as_bytes()))
}

/// Returns whether `Connection` must not remove this header: the client's identity, the target,
/// credentials, the length of the message, and the handshake itself.
fn is_protected(name: &HeaderName) -> bool {
    static PROTECTED: [HeaderName; 7] = [
        VIA,
        COOKIE,
        SET_COOKIE,
        AUTHORIZATION,
        HOST,
        ORIGIN,
        CONTENT_LENGTH,
    ];
    PROTECTED.contains(name)
        || untrusted::is_member(name)
        || name.as_str().starts_with("sec-websocket-")
}

#[cfg(test)]
mod tests;

//! Removal of the headers that speak about one connection only (RFC 9110 §7.6.1).

use http::HeaderMap;
use http::header::{
    ALT_SVC, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, COOKIE, EXPECT, HOST, HeaderName, MAX_FORWARDS, ORIGIN,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    VIA, WWW_AUTHENTICATE,
};

use super::family;
use super::tokens::members;

/// Removed whether or not `Connection` names them.
///
/// One list serves requests and responses: each name that belongs to one of the two means
/// nothing on the other.
static ALWAYS: [HeaderName; 14] = [
    // The list of the others; itself always for one hop (RFC 9110 §7.6.1).
    CONNECTION,
    // Parameters of this connection's persistence, and its misnamed form for proxies
    // (RFC 9112 §C.2.2).
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    // Registered only so that nobody takes the option `close` for a header (RFC 9112 §9.6).
    HeaderName::from_static("close"),
    // The framing of each hop is its sender's own, and so is the willingness to take
    // trailers (RFC 9112 §6.1, RFC 9110 §10.1.4).
    TRANSFER_ENCODING,
    TE,
    // Announces trailers which the framing of the next hop may not carry (RFC 9110 §6.6.2).
    TRAILER,
    // Asks for, or grants, another protocol on this connection. Passing on an unknown one
    // such as `h2c` opens a tunnel past every check; the handshake writes its own
    // (RFC 9110 §7.8).
    UPGRADE,
    // Belongs to `Upgrade: h2c` (RFC 7540 §3.2.1).
    HeaderName::from_static("http2-settings"),
    // Names the protocols to be spoken inside a CONNECT tunnel (RFC 7639 §2).
    HeaderName::from_static("alpn"),
    // Authentication between a client and its next proxy; credentials for it are not the
    // upstream's to see (RFC 9110 §11.7).
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-authentication-info"),
    // The upstream's alternatives would lead the client around the proxy, or to ports
    // which are open on the inside only (RFC 7838 §3).
    ALT_SVC,
];

/// Options that nearly every `Connection` is made of, and that name nothing beyond
/// [`ALWAYS`].
const USUAL: [&str; 3] = ["upgrade", "keep-alive", "close"];

/// Removes hop-by-hop headers from a request or a response, the 101 included.
///
/// Goes first: what the proxy adds by itself is added afterwards, so no `Connection` line
/// can name it away (CVE-2024-45410). Headers which upstreams base decisions on stay even
/// when they are named; RFC 9110 §7.6.1 forbids a sender to name what is meant for all
/// recipients. A header outside that circle which a layer in front of the proxy has added
/// can be named away by the client; header edits of the proxy run later and cannot.
///
/// Whoever relays a 426 must add `Upgrade` again (RFC 9110 §15.5.22).
pub(crate) fn strip(headers: &mut HeaderMap) {
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    for name in &ALWAYS {
        headers.remove(name);
    }
}

/// What says how content is to be read or kept, or what to do with a request. HTTP/1.1 connections
/// leave these out of trailers by themselves, but those of HTTP/2 do not (RFC 9110 §6.5.1).
static AHEAD: [HeaderName; 7] = [
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_RANGE,
    CONTENT_TYPE,
    EXPECT,
    MAX_FORWARDS,
    WWW_AUTHENTICATE,
];

/// Removes from trailers what means something only ahead of the content: what says how long a
/// message is or how to read it, where it goes, who sends it, and all that is for one hop
/// (RFC 9110 §6.5.1).
///
/// An upstream that merges trailers into the headers would otherwise be told by the client what
/// the proxy alone may tell.
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    let misplaced: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| is_protected(name) || ALWAYS.contains(name) || AHEAD.contains(name))
        .cloned()
        .collect();
    for name in &misplaced {
        trailers.remove(name);
    }
    family::strip_untrusted(trailers, family::Trust::Untrusted);
}

/// The headers which `Connection` names and may name, but for the usual ones, which go
/// with [`ALWAYS`].
///
/// A handshake that names only those finds nothing here and does not allocate.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    members(headers, &CONNECTION)
        .filter(|option| !is_usual(option))
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| headers.contains_key(name) && !is_protected(name))
        .collect()
}

fn is_usual(option: &[u8]) -> bool {
    USUAL
        .iter()
        .any(|usual| option.eq_ignore_ascii_case(usual.as_bytes()))
}

/// Names that `Connection` cannot remove: who the client is, where it wants to go, what it
/// may do, how long the message is, and the handshake itself.
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
        || family::is_member(name)
        || name.as_str().starts_with("sec-websocket-")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const PROTECTED: [&str; 16] = [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-prefix",
        "x-real-ip",
        "forwarded",
        "via",
        "sec-websocket-key",
        "sec-websocket-accept",
        "sec-websocket-anything",
        "cookie",
        "set-cookie",
        "authorization",
        "host",
        "origin",
        "content-length",
    ];

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::try_from(*value).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn the_fixed_list_goes_even_when_not_named() {
        let mut map = headers(&[
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Proxy-Authenticate", "Basic"),
            ("Proxy-Authorization", "Basic Zm9v"),
            ("Proxy-Authentication-Info", "a"),
            ("TE", "trailers"),
            ("Trailer", "x"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "websocket"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMAAABk"),
            ("Alt-Svc", "h3=\":443\""),
            ("ALPN", "h2"),
            ("Close", "1"),
            ("Accept", "*/*"),
        ]);
        strip(&mut map);
        assert_eq!(map, headers(&[("Accept", "*/*")]));
    }

    #[test]
    fn every_connection_line_counts_rfc9110_7_6_1() {
        let mut map = headers(&[
            ("Connection", "Upgrade, X-One"),
            ("Connection", " x-TWO ,"),
            ("X-One", "1"),
            ("X-One", "again"),
            ("X-Two", "2"),
            ("X-Three", "3"),
        ]);
        strip(&mut map);
        assert_eq!(map, headers(&[("X-Three", "3")]));
    }

    #[test]
    fn connection_cannot_remove_what_upstreams_decide_by() {
        for name in PROTECTED {
            let mut map = headers(&[("Connection", &name.to_uppercase()), (name, "v")]);
            strip(&mut map);
            assert_eq!(map, headers(&[(name, "v")]), "{name}");
        }
    }

    #[test]
    fn options_that_are_no_header_names_are_passed_over() {
        let mut map = headers(&[("Connection", "a b, (), x-one, ="), ("X-One", "1")]);
        map.append(CONNECTION, HeaderValue::from_bytes(b"\xff").unwrap());
        strip(&mut map);
        assert!(map.is_empty());
    }

    #[test]
    fn the_usual_handshake_costs_no_allocation() {
        let map = headers(&[
            ("Connection", "keep-alive, Upgrade"),
            ("Connection", "close"),
            ("Keep-Alive", "timeout=5"),
            ("Upgrade", "websocket"),
            ("Close", "1"),
            ("X-One", "1"),
        ]);
        assert_eq!(named_by_connection(&map).capacity(), 0);
    }

    #[test]
    fn trailers_say_nothing_that_belongs_ahead_of_the_content_rfc9110_6_5_1() {
        let mut map = headers(&[
            ("X-Checksum", "1"),
            ("Grpc-Status", "0"),
            ("X_Forwarded_For", "6.6.6.6"),
        ]);
        for name in PROTECTED.into_iter().chain([
            "transfer-encoding",
            "te",
            "upgrade",
            "content-type",
            "expect",
        ]) {
            map.insert(name, HeaderValue::from_static("v"));
        }
        strip_trailers(&mut map);
        assert_eq!(map, headers(&[("X-Checksum", "1"), ("Grpc-Status", "0")]));
    }

    #[test]
    fn nothing_is_both_protected_and_always_removed() {
        assert!(!ALWAYS.iter().any(is_protected));
    }

    fn option() -> impl Strategy<Value = String> {
        prop_oneof![
            proptest::sample::select(&PROTECTED[..]).prop_map(str::to_owned),
            proptest::sample::select(&PROTECTED[..]).prop_map(str::to_uppercase),
            proptest::sample::select(&ALWAYS[..]).prop_map(|name| name.to_string()),
            "x-[a-c]",
            "[ -~]{0,12}",
        ]
    }

    proptest! {
        #[test]
        fn whatever_connection_says_protected_stay_and_named_go(
            lines in proptest::collection::vec(proptest::collection::vec(option(), 0..6), 0..4),
        ) {
            let kept: Vec<_> = PROTECTED.iter().map(|name| (*name, "v")).collect();
            let mut map = headers(&kept);
            for name in ALWAYS.iter().filter(|name| *name != CONNECTION) {
                map.insert(name, HeaderValue::from_static("v"));
            }
            for name in ["x-a", "x-b", "x-c"] {
                map.insert(name, HeaderValue::from_static("v"));
            }
            for line in &lines {
                map.append(CONNECTION, HeaderValue::try_from(line.join(",")).unwrap());
            }
            let mut expected = headers(&kept);
            for name in ["x-a", "x-b", "x-c"] {
                if !members(&map, &CONNECTION).any(|option| option.eq_ignore_ascii_case(name.as_bytes())) {
                    expected.insert(name, HeaderValue::from_static("v"));
                }
            }
            strip(&mut map);
            prop_assert_eq!(map, expected);
        }
    }
}

//! Laws for the head that an upstream receives.

use std::collections::{BTreeMap, BTreeSet};

use crate::parsers_kit::{
    handshake::{Meaning, meaning},
    strict::Head,
};

/// Headers that the proxy writes, counts or keeps to a connection.
const MANAGED: [&str; 24] = [
    "alpn",
    "alt-svc",
    "close",
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "sec-websocket-accept",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Headers that concern one connection, or that only trusted proxies may send.
const FORBIDDEN: [&str; 9] = [
    "alpn",
    "alt-svc",
    "close",
    "forwarded",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "x-real-ip",
];

/// The ends of the names of the headers of a handshake.
const NEGOTIATION: [&str; 5] = ["accept", "extensions", "key", "protocol", "version"];

/// Headers that occur once at most.
const SINGLE: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Checks the head that an upstream received for this one of a client.
pub(super) fn check_head(wanted: &Head, meaning: Meaning, head: &Head) {
    check_form(head);
    match meaning == Meaning::Handshake {
        true => check_handshake(head),
        false => assert!(!head.has("upgrade"), "{head:?}"),
    }
    check_nominated(wanted, head);
}

/// Whether the headers that are passed on unchanged are those of this head of a client.
pub(super) fn has_fields_of(head: &Head, wanted: &Head) -> bool {
    kept(head, wanted) == kept(wanted, wanted)
}

/// Checks that every upstream reads the head alike, and that its forwarded headers name the client.
pub(crate) fn check_form(head: &Head) {
    for name in SINGLE {
        assert!(head.all(name).count() <= 1, "{name} in {head:?}");
    }
    assert_eq!(head.all("host").count(), 1, "{head:?}");
    let framings = [head.has("content-length"), head.has("transfer-encoding")];
    assert_ne!(framings, [true, true], "{head:?}");
    assert_eq!(
        head.only("x-forwarded-for"),
        Some(&b"192.0.2.7"[..]),
        "{head:?}"
    );
    assert_eq!(
        head.only("x-forwarded-proto"),
        Some(&b"http"[..]),
        "{head:?}"
    );
    for name in FORBIDDEN {
        assert!(!head.has(name), "{name} in {head:?}");
    }
    for (name, _) in &head.fields {
        let plain = name.replace(|byte: char| !byte.is_ascii_alphanumeric(), "-");
        let negotiates =
            NEGOTIATION.contains(&plain.strip_prefix("sec-websocket-").unwrap_or_default());
        let is_forwarded = plain == "x-forwarded" || plain.starts_with("x-forwarded-");
        let is_managed = is_forwarded || SINGLE.contains(&&*plain) || negotiates;
        // The names of one word have no aliases.
        let is_alias = plain != *name && is_managed && plain.contains('-');
        assert!(!is_alias, "{name} in {head:?}");
    }
}

/// Checks that the head is an opening handshake (RFC 6455 §4.1).
pub(crate) fn check_handshake(head: &Head) {
    assert_eq!(meaning(head), Meaning::Handshake, "{head:?}");
    assert_eq!(head.only("connection"), Some(&b"Upgrade"[..]), "{head:?}");
    assert_eq!(head.only("upgrade"), Some(&b"websocket"[..]), "{head:?}");
    assert!(!head.has("content-length"), "{head:?}");
}

/// Checks that no header reached the upstream that the client's `Connection` names (RFC 9110 §7.6.1).
fn check_nominated(wanted: &Head, head: &Head) {
    for name in wanted.list("connection") {
        let is_own = name.starts_with("x-forwarded-");
        assert!(
            is_own || !name.starts_with("x-") || !head.has(&name),
            "{name} in {head:?}"
        );
    }
}

/// The values of the headers that are passed on unchanged, in the order of their lines.
fn kept<'a>(head: &'a Head, wanted: &Head) -> BTreeMap<&'a str, Vec<&'a [u8]>> {
    let nominated: BTreeSet<_> = wanted.list("connection").into_iter().collect();
    let mut kept = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in &head.fields {
        let is_usual = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let is_managed = MANAGED.contains(&&**name) || name.starts_with("x-forwarded");
        if is_usual && !is_managed && !nominated.contains(name) {
            kept.entry(&**name).or_default().push(&**value);
        }
    }
    kept
}

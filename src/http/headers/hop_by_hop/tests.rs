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
    assert_eq!(nominated(&map).capacity(), 0);
}

#[test]
fn a_protected_header_is_found_wherever_it_is_named() {
    let names = ["x-user", "x-tenant"].map(HeaderName::from_static);
    let found = |lines: &[(&str, &str)]| find_nominated(&headers(lines), &names).cloned();
    assert_eq!(found(&[("Connection", "Upgrade, x-other")]), None);
    let lines = [("Connection", "Upgrade"), ("Connection", "close, X-TENANT")];
    assert_eq!(found(&lines), Some(names[1].clone()));
}

#[test]
fn matchers_get_a_copy_only_where_a_header_is_removed() {
    let usual = headers(&[("Connection", "Upgrade, te, x-absent"), ("TE", "trailers")]);
    assert_eq!(without_nominated(&usual, &[]), None);
    let map = headers(&[
        ("Connection", "x-one, te"),
        ("X-One", "1"),
        ("TE", "trailers"),
    ]);
    let left = headers(&[("Connection", "x-one, te"), ("TE", "trailers")]);
    assert_eq!(without_nominated(&map, &[]), Some(left));
    assert_eq!(
        without_nominated(&map, &[HeaderName::from_static("x-one")]),
        None
    );
}

#[test]
fn trailers_say_nothing_that_belongs_ahead_of_the_content_rfc9110_6_5_1() {
    let mut map = headers(&[
        ("X-Checksum", "1"),
        ("Grpc-Status", "0"),
        ("X_Forwarded_For", "6.6.6.6"),
        ("Content_Length", "6"),
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
    strip_trailers(&mut map, &[]);
    assert_eq!(map, headers(&[("X-Checksum", "1"), ("Grpc-Status", "0")]));
}

#[test]
fn nothing_is_both_protected_and_always_removed() {
    let removed = ALWAYS_REMOVED.names().iter();
    let mut removed = removed.map(|name| HeaderName::from_static(name));
    assert!(!removed.any(|name| is_protected(&name)));
}

#[test]
fn hop_by_hop_headers_and_the_length_and_the_handshake_are_the_proxys() {
    for (name, hop_by_hop, managed) in [
        ("connection", true, true),
        ("te", true, true),
        ("content-length", false, true),
        ("sec-websocket-key", false, true),
        ("accept", false, false),
        ("cookie", false, false),
    ] {
        let name = HeaderName::from_static(name);
        assert_eq!(is_hop_by_hop(&name), hop_by_hop, "{name}");
        assert_eq!(is_managed(&name), managed, "{name}");
    }
}

fn option() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(&PROTECTED[..]).prop_map(str::to_owned),
        proptest::sample::select(&PROTECTED[..]).prop_map(str::to_uppercase),
        proptest::sample::select(ALWAYS_REMOVED.names()).prop_map(str::to_owned),
        "x-[a-c]",
        "[ -~]{0,12}",
    ]
}

proptest! {
    #[test]
    fn protected_headers_stay_and_named_ones_are_removed(
        lines in proptest::collection::vec(proptest::collection::vec(option(), 0..6), 0..4),
    ) {
        let kept: Vec<_> = PROTECTED.iter().map(|name| (*name, "v")).collect();
        let mut map = headers(&kept);
        for name in ALWAYS_REMOVED.names().iter().filter(|name| **name != "connection") {
            map.insert(*name, HeaderValue::from_static("v"));
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

use std::net::SocketAddr;

use http::header::{FORWARDED, HeaderName};
use proptest::prelude::*;

use super::*;

const TRUSTED: &str = "10.0.0.1:9";
const STRANGER: &str = "192.0.2.1:9";
/// A Unix socket's peer has no address.
const UNKNOWN: &str = "";

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::try_from(*name).unwrap(),
            HeaderValue::try_from(*value).unwrap(),
        );
    }
    headers
}

fn client(peer: &str) -> ClientInfo {
    peer.parse::<SocketAddr>()
        .map_or(ClientInfo::new(), ClientInfo::from)
}

fn settings() -> ForwardedHeaders {
    ForwardedHeaders::new().trust(Networks::parse(["10.0.0.0/8"]).unwrap())
}

fn applied(settings: &ForwardedHeaders, peer: &str, came: &[(&str, &str)]) -> HeaderMap {
    let mut headers = map(came);
    let host = HeaderValue::from_static("example.com:8080");
    let client = client(peer).with_scheme(ClientScheme::Https);
    settings.apply(&mut headers, &client, Some(&host));
    headers
}

const FORGED: &[(&str, &str)] = &[
    ("x-forwarded-for", "6.6.6.6"),
    ("x-forwarded-for", "7.7.7.7"),
    ("x-forwarded-proto", "wss"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-prefix", "/admin"),
    ("x-forwarded-port", "1"),
    ("x-real-ip", "6.6.6.6"),
    ("forwarded", "for=6.6.6.6"),
    ("x_forwarded_for", "6.6.6.6"),
    ("x.real.ip", "6.6.6.6"),
];

#[test]
fn only_a_trusted_peer_can_say_what_the_client_speaks() {
    use ClientScheme::{Http, Https};
    for (came, says) in [
        ("https", Some(Https)),
        ("WSS", Some(Https)),
        ("http, https", Some(Https)),
        ("http", Some(Http)),
        ("https, ws", Some(Http)),
        ("", None),
        ("httpss", None),
    ] {
        let came = map(&[("x-forwarded-proto", came)]);
        for is in [Http, Https] {
            let scheme = |peer: &str| {
                let client = client(peer).with_scheme(is);
                settings().client_scheme(&came, &client)
            };
            assert_eq!(scheme(TRUSTED), says.unwrap_or(is), "{came:?}");
            assert_eq!([scheme(STRANGER), scheme(UNKNOWN)], [is, is], "{came:?}");
        }
    }
}

#[test]
fn headers_of_an_untrusted_peer_are_replaced_or_dropped() {
    for settings in [settings(), ForwardedHeaders::default()] {
        assert_eq!(
            applied(&settings, STRANGER, FORGED),
            map(&[
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "example.com:8080"),
            ])
        );
    }
}

#[test]
fn a_removed_prefix_is_added_to_that_of_a_trusted_proxy() {
    let prefix = |settings: &ForwardedHeaders, peer: &str, came: &[(&str, &str)]| {
        let (received, client) = (map(came), client(peer));
        let lines = settings.lines(&received, &client, None);
        let mut headers = HeaderMap::new();
        lines.prefix(Some("/app")).write(&mut headers);
        let value = headers.get("x-forwarded-prefix").cloned();
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let came = &[
        ("x-forwarded-prefix", "/a"),
        ("x-forwarded-prefix", "/outer/"),
    ];
    assert_eq!(prefix(&settings(), STRANGER, came).as_deref(), Some("/app"));
    let outer = prefix(&settings(), TRUSTED, came);
    assert_eq!(outer.as_deref(), Some("/outer/app"));
    let without = settings().without_x_forwarded_prefix();
    assert_eq!(prefix(&without, STRANGER, came), None);
}

#[test]
fn with_a_removed_prefix_that_of_a_trusted_proxy_is_written_again_and_other_lines_stay() {
    let (received, client) = (HeaderMap::new(), client(TRUSTED));
    for (prefix, replaced) in [(Some("/app"), true), (None, false)] {
        let settings = settings();
        let lines = settings.lines(&received, &client, None).prefix(prefix);
        let replaces = |name| lines.replaces(&HeaderName::from_static(name));
        assert_eq!(replaces("x-forwarded-prefix"), replaced, "{prefix:?}");
        assert!(!replaces("x-forwarded-port") && !replaces("forwarded"));
        assert!(replaces("x-forwarded-for") && replaces("x_forwarded_prefix"));
    }
}

#[test]
fn nothing_is_trusted_by_default() {
    let headers = applied(
        &ForwardedHeaders::new(),
        TRUSTED,
        &[("x-forwarded-for", "6.6.6.6")],
    );
    assert_eq!(headers["x-forwarded-for"], "10.0.0.1");
}

#[test]
fn a_trusted_proxy_is_built_upon() {
    let came = &[
        ("x-forwarded-for", "6.6.6.6 ,192.0.2.7"),
        ("x-forwarded-for", "10.0.0.2"),
        ("x-forwarded-proto", "https, http"),
        ("x-forwarded-host", "a.example"),
        ("x-forwarded-host", "b.example"),
        ("x-forwarded-prefix", "/app"),
        ("x-real-ip", "192.0.2.7"),
        ("forwarded", "for=192.0.2.7"),
        ("x_forwarded_proto", "https"),
    ];
    assert_eq!(
        applied(&settings(), TRUSTED, came),
        map(&[
            ("x-forwarded-for", "6.6.6.6, 192.0.2.7, 10.0.0.2, 10.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "b.example"),
            ("x-forwarded-prefix", "/app"),
            ("x-real-ip", "192.0.2.7"),
            ("forwarded", "for=192.0.2.7"),
        ])
    );
}

#[test]
fn an_unknown_peer_is_untrusted_and_has_no_address_to_write() {
    let settings = settings().with_forwarded().with_x_real_ip();
    assert_eq!(
        applied(&settings, UNKNOWN, FORGED),
        map(&[
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "example.com:8080"),
            ("forwarded", "host=\"example.com:8080\";proto=https"),
        ])
    );
}

#[test]
fn an_unknown_peer_may_be_trusted() {
    let settings = settings().trust_unknown_peer().with_x_real_ip();
    let came = &[
        ("x-forwarded-for", "6.6.6.6, 192.0.2.7"),
        ("x-forwarded-for", "10.0.0.2"),
        ("x-forwarded-host", "a.example"),
        ("x_forwarded_host", "evil.example"),
    ];
    assert_eq!(
        applied(&settings, UNKNOWN, came),
        map(&[
            ("x-forwarded-for", "6.6.6.6, 192.0.2.7, 10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a.example"),
            ("x-real-ip", "192.0.2.7"),
        ])
    );
    assert_eq!(
        settings.client_ip(&map(came), &client(UNKNOWN)),
        Some([192, 0, 2, 7].into())
    );
    assert_eq!(
        settings.client_ip(&HeaderMap::new(), &client(UNKNOWN)),
        None
    );
    // A peer with an address stays untrusted.
    assert_eq!(
        applied(&settings, STRANGER, came)["x-forwarded-for"],
        "192.0.2.1"
    );
}

#[test]
fn each_header_can_be_switched_off_and_a_forged_one_still_goes() {
    let new = ForwardedHeaders::new;
    for (settings, name) in [
        (new().without_x_forwarded_for(), "x-forwarded-for"),
        (new().without_x_forwarded_proto(), "x-forwarded-proto"),
        (new().without_x_forwarded_host(), "x-forwarded-host"),
    ] {
        let headers = applied(&settings, STRANGER, FORGED);
        assert!(!headers.contains_key(name), "{name}");
        assert_eq!(headers.len(), 2);
    }
}

#[test]
fn a_header_switched_off_is_passed_on_from_a_trusted_proxy() {
    let settings = settings()
        .without_x_forwarded_for()
        .without_x_forwarded_proto()
        .without_x_forwarded_host();
    let came = &[
        ("x-forwarded-for", "a"),
        ("x-forwarded-for", "b"),
        ("x-forwarded-proto", "wss"),
    ];
    assert_eq!(applied(&settings, TRUSTED, came), map(came));
}

#[test]
fn forwarded_is_replaced_or_appended_to_rfc7239_4() {
    let settings = settings().with_forwarded();
    let came = &[
        ("forwarded", "for=192.0.2.7"),
        ("forwarded", "for=\"[::1]\""),
    ];
    assert_eq!(
        applied(&settings, STRANGER, came)[FORWARDED],
        "for=192.0.2.1;host=\"example.com:8080\";proto=https"
    );
    assert_eq!(
        applied(&settings, TRUSTED, came)[FORWARDED],
        "for=192.0.2.7, for=\"[::1]\", for=10.0.0.1;host=\"example.com:8080\";proto=https"
    );
}

#[test]
fn x_real_ip_is_the_resolved_client_and_never_what_came() {
    let settings = settings().with_x_real_ip();
    let came = &[
        ("x-forwarded-for", "6.6.6.6, 192.0.2.7"),
        ("x-real-ip", "6.6.6.6"),
    ];
    assert_eq!(applied(&settings, STRANGER, came)["x-real-ip"], "192.0.2.1");
    assert_eq!(applied(&settings, TRUSTED, came)["x-real-ip"], "192.0.2.7");
}

proptest! {
    #[test]
    fn headers_of_an_untrusted_peer_change_nothing(
        came in proptest::collection::vec(
            ("(x[-_.]forwarded[-_.](for|proto|host|[a-z]{1,6})|x[-_.]real[-_.]ip|forwarded)", "[ -~]{0,30}"),
            0..10,
        ),
    ) {
        let came: Vec<(&str, &str)> = came.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let settings = settings().with_forwarded().with_x_real_ip();
        prop_assert_eq!(applied(&settings, STRANGER, &came), applied(&settings, STRANGER, &[]));
    }

    #[test]
    fn behind_a_trusted_proxy_the_client_stays_the_same_after_the_hop(
        list in "[0-9., :a-f\\[\\]\"]{0,40}",
    ) {
        let settings = settings().with_forwarded();
        let before = map(&[("x-forwarded-for", &list)]);
        let after = applied(&settings, TRUSTED, &[("x-forwarded-for", &list)]);
        let peer = client(TRUSTED);
        prop_assert_eq!(settings.client_ip(&after, &peer), settings.client_ip(&before, &peer));
        let line = after["x-forwarded-for"].to_str().unwrap();
        prop_assert!(line.ends_with("10.0.0.1"));
        prop_assert!(crate::http::headers::rfc7239::tests::parse(after[FORWARDED].as_bytes()).is_some());
    }
}

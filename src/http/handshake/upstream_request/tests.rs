use std::net::SocketAddr;

use proptest::prelude::*;
use proptest::sample::select;

use crate::{
    http::head::RequestHead,
    http::headers::{
        ClientScheme, ForwardedHeaders, HeaderEdits, Networks, UpstreamHeaders, Via,
        strip_nominated,
    },
    http::upgrade::{Intent, inspect},
};

use super::*;

const NAMES: [&str; 32] = [
    "accept",
    "connection",
    "content-length",
    "content_length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "sec_websocket_key",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade-insecure-requests",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-given",
    "x-real-ip",
    "x-user",
    "x_forwarded_for",
    "x_given",
    "x_user",
];

const LONG: [u8; 9000] = [b'l'; 9000];

const VALUES: [&[u8]; 14] = [
    b"",
    b" , ",
    b"a",
    b"a, b",
    b"10.0.0.2, 192.0.2.9",
    b"/prefix",
    b"wss",
    b"for=192.0.2.9;by=\"",
    b"\"quoted, \\\" value\"",
    b"caf\xe9 \xff",
    b"a\tb",
    b"permessage-deflate",
    b"accept, x-user, close",
    &LONG,
];

/// Header lines as a client sends them.
type Lines = Vec<(&'static str, &'static [u8])>;

fn lines() -> impl Strategy<Value = Lines> {
    proptest::collection::vec((select(NAMES.to_vec()), select(VALUES.to_vec())), 0..12)
}

/// Form of a request's target (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug)]
enum Target {
    Origin,
    Absolute,
}

/// Client's request, and all that is known about it.
#[derive(Clone, Debug)]
struct Case {
    version: Version,
    target: Target,
    /// Prefix that a router has removed from the path.
    prefix: Option<&'static str>,
    lines: Lines,
    client: ClientInfo,
}

fn cases() -> impl Strategy<Value = Case> {
    (
        select(vec![Version::HTTP_11, Version::HTTP_2]),
        select(vec![Target::Origin, Target::Absolute]),
        select(vec![None, Some("/app"), Some("/app/v2")]),
        lines(),
        clients(),
    )
        .prop_map(|(version, target, prefix, lines, client)| Case {
            version,
            target,
            prefix,
            lines,
            client,
        })
}

fn clients() -> impl Strategy<Value = ClientInfo> {
    let peer = select(vec![None, Some("10.0.0.1:9"), Some("[2001:db8::1]:9")]);
    let scheme = select(vec![ClientScheme::Http, ClientScheme::Https]);
    (peer, scheme).prop_map(|(peer, scheme)| {
        let peer = peer.map(|peer| peer.parse::<SocketAddr>().unwrap());
        let client = peer.map_or(ClientInfo::new(), ClientInfo::from);
        client.with_scheme(scheme)
    })
}

impl Case {
    fn client_request(&self) -> Parts {
        let target = match self.target {
            Target::Origin => "/ws?a=b",
            Target::Absolute => "http://user@absolute.test:8080/ws?a=b",
        };
        let mut request = Request::get(target)
            .version(self.version)
            .header("host", "example.com")
            .header("connection", "upgrade, x-user")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        for (name, value) in &self.lines {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap().into_parts().0;
        self.set_prefix(&mut request);
        strip_nominated(&mut request.headers);
        request
    }

    #[cfg(feature = "axum")]
    fn set_prefix(&self, request: &mut Parts) {
        if let Some(prefix) = self.prefix {
            let original = format!("{prefix}/ws?a=b").parse().unwrap();
            request
                .extensions
                .insert(axum::extract::OriginalUri(original));
        }
    }

    /// Without the feature `axum` no router is known.
    #[cfg(not(feature = "axum"))]
    const fn set_prefix(&self, _request: &mut Parts) {
        let _ = self.prefix;
    }
}

/// Settings of every kind that leave the lines as the proxy writes them.
fn rules() -> impl Strategy<Value = OutboundRules> {
    (forwarded(), any::<bool>()).prop_map(|(forwarded, has_via)| OutboundRules {
        forwarded,
        via: has_via.then(|| Via::new("edge").unwrap()),
        protected: [HeaderName::from_static("x-user")].into(),
        ..OutboundRules::default()
    })
}

fn forwarded() -> impl Strategy<Value = ForwardedHeaders> {
    type Setting = fn(ForwardedHeaders) -> ForwardedHeaders;
    let settings: [Setting; 8] = [
        |it| it.trust(Networks::parse(["10.0.0.0/8"]).unwrap()),
        ForwardedHeaders::trust_unknown_peer,
        ForwardedHeaders::without_x_forwarded_for,
        ForwardedHeaders::without_x_forwarded_proto,
        ForwardedHeaders::without_x_forwarded_host,
        ForwardedHeaders::without_x_forwarded_prefix,
        ForwardedHeaders::with_forwarded,
        ForwardedHeaders::with_x_real_ip,
    ];
    any::<[bool; 8]>().prop_map(move |chosen| {
        let chosen = settings
            .iter()
            .zip(chosen)
            .filter(|(_, is_chosen)| *is_chosen);
        chosen.fold(ForwardedHeaders::new(), |it, (setting, _)| setting(it))
    })
}

fn upgrade() -> UpgradeRequest {
    let case = Case {
        version: Version::HTTP_11,
        target: Target::Origin,
        prefix: None,
        lines: Lines::new(),
        client: ClientInfo::new(),
    };
    match inspect(&RequestHead::from(&case.client_request())) {
        Intent::Upgrade(upgrade) => upgrade,
        other => panic!("{other:?}"),
    }
}

/// Encodes the request with these rules.
fn encoded(client_request: &Parts, client: &ClientInfo, rules: &OutboundRules) -> (Vec<u8>, Offer) {
    let request = UpstreamRequest {
        client_request,
        target: &Uri::from_static("/ws?a=b"),
        upgrade: &upgrade(),
        client,
        rules,
    };
    let (encoded, offer) = request.encode();
    (encoded.head.to_vec(), offer)
}

/// Returns the lines of a head. Those of one name stay in order: the order of names has no meaning
/// (RFC 9110 §5.3).
fn sorted_lines(head: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<_> = head.split(|byte| *byte == b'\n').collect();
    lines.sort_by_key(|line| name_of(line));
    lines
}

fn name_of(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b':').next().unwrap_or_default()
}

/// `HeaderMap::with_capacity` panics above some 24,500 lines.
#[test]
fn a_head_of_as_many_lines_as_a_map_holds_is_encoded() {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_static("v");
    let names = (0..).map(|number| HeaderName::try_from(format!("n{number}")).unwrap());
    for name in names {
        if headers.try_insert(name, value.clone()).is_err() {
            break;
        }
    }
    assert!(headers.len() >= 24_500, "{}", headers.len());
    let mut client_request = Request::get("/ws?a=b").body(()).unwrap().into_parts().0;
    client_request.headers = headers;
    for edits in [HeaderEdits::new(), HeaderEdits::new().with(|_| {})] {
        let rules = OutboundRules {
            edits,
            ..OutboundRules::default()
        };
        let (head, _) = encoded(&client_request, &ClientInfo::new(), &rules);
        assert!(head.windows(10).any(|line| line == b"\r\nN0: v\r\nN"));
        assert!(head.ends_with(b"\r\n\r\n"));
    }
}

proptest! {
    #[test]
    fn a_request_is_the_same_with_and_without_a_header_map(case in cases(), rules in rules()) {
        let client_request = case.client_request();
        prop_assert!(rules.are_lines_final(&client_request));
        let (written, offer) = encoded(&client_request, &case.client, &rules);
        // An edit that changes nothing takes the way by the map.
        let with_map = OutboundRules {
            edits: HeaderEdits::new().with(|_| {}),
            ..rules
        };
        prop_assert!(!with_map.are_lines_final(&client_request));
        let (mapped, mapped_offer) = encoded(&client_request, &case.client, &with_map);
        prop_assert_eq!(sorted_lines(&written), sorted_lines(&mapped));
        prop_assert!(offer == mapped_offer);
    }

    #[test]
    fn a_host_changes_the_lines_that_it_names_and_no_other(case in cases(), rules in rules()) {
        let client_request = case.client_request();
        let (written, _) = encoded(&client_request, &case.client, &rules);
        let mut given = UpstreamHeaders::new();
        given.insert(HeaderName::from_static("x-given"), HeaderValue::from_static("1"));
        given.append(HeaderName::from_static("x-given"), HeaderValue::from_static("2"));
        let mut with_given = client_request.clone();
        with_given.extensions.insert(given);
        let edits = HeaderEdits::new().set("x-edit", "3").unwrap();
        let changed = OutboundRules {
            edits: edits.remove("accept").unwrap().append("via", "1.1 host").unwrap(),
            host: Some(HeaderValue::from_static("upstream.test")),
            ..rules
        };
        let (changed, _) = encoded(&with_given, &case.client, &changed);

        let replaced: [&[u8]; 4] = [b"Accept", b"Host", b"X-Given", b"X_given"];
        let mut expected: Vec<&[u8]> = written.split(|byte| *byte == b'\n').collect();
        expected.retain(|line| !replaced.contains(&name_of(line)));
        let added = "Host: upstream.test\r\nVia: 1.1 host\r\nX-Edit: 3\r\nX-Given: 1\r\nX-Given: 2\r";
        expected.extend(added.as_bytes().split(|byte| *byte == b'\n'));
        expected.sort_by_key(|line| name_of(line));
        prop_assert_eq!(sorted_lines(&changed), expected);
    }
}

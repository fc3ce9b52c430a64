//! The headers that the upstream gets.

use http::{HeaderName, HeaderValue};
use wsplice::headers::{HeaderEdits, UpstreamHeaders, Via};

use super::kit::{Proxied, expect_inner, expect_page, expect_untouched, only_head, text, values};
use crate::support::head::Head;
use crate::support::raw::{HOST, KEY, handshake_request};
use crate::support::scripts;
use crate::support::upstream::RawUpstream;

/// The head that an upstream gets of a handshake with further headers.
async fn forwarded(extra: &[(&str, &str)]) -> Head {
    forwarded_with(extra, |layer| layer).await
}

async fn forwarded_with(
    extra: &[(&str, &str)],
    settings: impl FnOnce(wsplice::ProxyLayer) -> wsplice::ProxyLayer,
) -> Head {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = Proxied::with(&upstream, settings).await;
    let (_client, head) = proxied.handshake("/ws/x", extra).await;
    assert_eq!(head.status(), 101, "{extra:?}");
    only_head(&upstream).await
}

#[tokio::test]
async fn the_handshake_is_the_client_s_rfc6455_4_1() {
    let asked = forwarded(&[]).await;
    assert_eq!(asked.start, "GET /ws/x HTTP/1.1");
    assert_eq!(values(&asked, "host"), [HOST]);
    assert_eq!(values(&asked, "connection"), ["Upgrade"]);
    assert_eq!(values(&asked, "upgrade"), ["websocket"]);
    assert_eq!(values(&asked, "sec-websocket-key"), [KEY]);
    assert_eq!(values(&asked, "sec-websocket-version"), ["13"]);
    for absent in [
        "content-length",
        "transfer-encoding",
        "x-forwarded-server",
        "via",
    ] {
        assert_eq!(asked.get(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn what_the_client_says_beyond_passes_as_it_is() {
    let said = [
        ("Cookie", "a=1; b=2"),
        ("Cookie", "c=3"),
        ("Authorization", "Bearer abc"),
        ("Origin", "https://app.test"),
        ("User-Agent", "test"),
        ("X-Twice", "1"),
        ("X-Other", "o"),
        ("X-Twice", "2"),
        ("X-Empty", ""),
        ("Accept-Language", "de,en;q=0.5"),
        ("X-Utf8", "caf\u{e9}"),
    ];
    let asked = forwarded(&said).await;
    for (name, _) in said {
        let sent: Vec<_> = said
            .iter()
            .filter(|line| line.0 == name)
            .map(|line| line.1)
            .collect();
        assert_eq!(values(&asked, name), sent, "{name}");
    }
}

/// Development servers and port mappings: neither is corrected by the other.
#[tokio::test]
async fn an_origin_and_a_host_with_unlike_ports_pass_as_they_were_sent() {
    for (origin, host) in [
        ("http://app.test:3000", "app.test:8080"),
        ("http://app.test", "app.test:8080"),
        ("https://app.test:443", "app.test"),
        ("http://app.test:80", "app.test:443"),
        ("http://[::1]:3000", "[::1]:8080"),
    ] {
        let upstream = RawUpstream::start(scripts::echo()).await;
        let proxied = Proxied::before(&upstream).await;
        let request = handshake_request("/ws/x", &[("Origin", origin)]);
        let request = String::from_utf8(request).unwrap();
        let request = request.replace(&format!("Host: {HOST}"), &format!("Host: {host}"));
        let (_client, head) = proxied.send(request.as_bytes()).await;
        assert_eq!(head.status(), 101, "{origin}, {host}");
        let asked = only_head(&upstream).await;
        assert_eq!(values(&asked, "origin"), [origin]);
        assert_eq!(values(&asked, "host"), [host]);
        assert_eq!(values(&asked, "x-forwarded-host"), [host]);
    }
}

#[tokio::test]
async fn hop_by_hop_headers_stay_rfc9110_7_6_1() {
    let asked = forwarded(&[
        ("Connection", "Upgrade, X-Named, keep-alive, X-Other"),
        ("Connection", "x-third"),
        ("X-Named", "1"),
        ("x-other", "1"),
        ("X-Third", "1"),
        ("X-Not-Named", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers"),
        ("Trailer", "X-T"),
        ("Proxy-Authorization", "Basic c2VjcmV0"),
        ("HTTP2-Settings", "AAMAAABk"),
        ("Expect", "100-continue"),
        ("Content-Length", "0"),
        ("Sec-WebSocket-Accept", "x"),
    ])
    .await;
    for stripped in [
        "x-named",
        "x-other",
        "x-third",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "proxy-authorization",
        "http2-settings",
        "expect",
        "content-length",
        "sec-websocket-accept",
    ] {
        assert_eq!(asked.get(stripped), None, "{stripped}");
    }
    assert_eq!(asked.get("x-not-named"), Some("1"));
    assert_eq!(values(&asked, "connection"), ["Upgrade"]);
}

#[tokio::test]
async fn a_client_cannot_name_away_the_headers_of_the_host() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let name = HeaderName::from_static("x-user-id");
    let mut given = UpstreamHeaders::new();
    given.insert(name, HeaderValue::from_static("alice"));
    let proxied = Proxied::within(
        &upstream,
        |layer| layer,
        |app| app.layer(axum::Extension(given)),
    )
    .await;
    let forged = [
        ("Connection", "Upgrade, X-User-Id"),
        ("X-User-Id", "mallory"),
        ("X_User_Id", "mallory"),
        ("X-Kept", "1"),
    ];
    let (_client, head) = proxied.handshake("/ws/x", &forged).await;
    assert_eq!(head.status(), 101);
    let asked = only_head(&upstream).await;
    assert_eq!(values(&asked, "x-user-id"), ["alice"]);
    assert_eq!(asked.get("x_user_id"), None);
    assert_eq!(asked.get("x-kept"), Some("1"));
}

#[tokio::test]
async fn a_client_that_names_a_protected_header_gets_400() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let protected = HeaderName::from_static("x-user-id");
    let proxied = Proxied::with(&upstream, |layer| {
        layer.protect_headers([protected.clone()])
    })
    .await;
    for named in ["Upgrade, X-User-Id", "upgrade, x-other, x-user-id"] {
        let extra = [("Connection", named), ("X-User-Id", "alice")];
        let (mut client, head) = proxied.handshake("/ws/x", &extra).await;
        assert_eq!(head.status(), 400);
        assert!(text(&mut client, &head).await.contains("x-user-id"));
        expect_page(&mut client).await;
    }
    expect_untouched(&upstream).await;
    let extra = [("X-User-Id", "alice"), ("X_User.Id", "mallory")];
    let (_client, head) = proxied.handshake("/ws/x", &extra).await;
    assert_eq!(head.status(), 101);
    let asked = only_head(&upstream).await;
    assert_eq!(values(&asked, "x-user-id"), ["alice"]);
    assert_eq!(asked.get("x_user.id"), None);
}

#[tokio::test]
async fn a_named_header_routes_nothing_as_the_upstream_never_sees_it() {
    use wsplice::matcher::header;

    let upstream = RawUpstream::start(scripts::echo()).await;
    let tenant = HeaderName::from_static("x-tenant");
    let proxied = Proxied::with(&upstream, |layer| layer.matching(header(tenant, "blue"))).await;
    let blue = ("X-Tenant", "blue");
    let (mut client, head) = proxied
        .handshake("/ws/x", &[("Connection", "Upgrade, x-tenant"), blue])
        .await;
    expect_inner(&mut client, &head, "/ws/x").await;
    expect_untouched(&upstream).await;
    let (_client, head) = proxied.handshake("/ws/x", &[blue]).await;
    assert_eq!(head.status(), 101);
}

#[tokio::test]
async fn aliases_of_the_framing_are_not_passed_on() {
    let asked = forwarded(&[
        ("Content_Length", "5"),
        ("Transfer_Encoding", "chunked"),
        ("transfer.encoding", "chunked"),
        ("Sec_WebSocket_Key", KEY),
        ("Proxy_Connection", "close"),
        ("Content_Type", "text/plain"),
    ])
    .await;
    for alias in [
        "content_length",
        "transfer_encoding",
        "transfer.encoding",
        "sec_websocket_key",
        "proxy_connection",
    ] {
        assert_eq!(asked.get(alias), None, "{alias}");
    }
    assert_eq!(asked.get("content_type"), Some("text/plain"));
}

#[tokio::test]
async fn connection_cannot_name_away_what_upstreams_rely_on() {
    let client = std::net::SocketAddr::from(([198, 51, 100, 7], 5));
    let asked = forwarded_with(
        &[
            (
                "Connection",
                "Upgrade, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Forwarded, X-Real-IP",
            ),
            (
                "Connection",
                "Sec-WebSocket-Key, Sec-WebSocket-Version, Sec-WebSocket-Protocol, \
                 Sec-WebSocket-Extensions, Cookie, Authorization, Host, Origin, Via",
            ),
            ("Connection", "X-Added, X-Fine"),
            ("Sec-WebSocket-Protocol", "chat"),
            ("Sec-WebSocket-Extensions", "permessage-deflate"),
            ("Cookie", "a=1"),
            ("Authorization", "Bearer abc"),
            ("Origin", "https://app.test"),
            ("X-Fine", "1"),
        ],
        |layer| {
            layer
                .client_info(move |_| Some(client.into()))
                .via(Via::new("edge").unwrap())
                .request_headers(HeaderEdits::new().set("x-added", "yes").unwrap())
        },
    )
    .await;
    for (name, value) in [
        ("x-forwarded-for", "198.51.100.7"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", HOST),
        ("sec-websocket-key", KEY),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("cookie", "a=1"),
        ("authorization", "Bearer abc"),
        ("host", HOST),
        ("origin", "https://app.test"),
        ("via", "1.1 edge"),
        ("x-added", "yes"),
    ] {
        assert_eq!(values(&asked, name), [value], "{name}");
    }
    assert_eq!(asked.get("x-fine"), None);
}

#[tokio::test]
async fn users_set_append_and_remove_headers() {
    let edits = HeaderEdits::new()
        .set("x-tenant", "blue")
        .unwrap()
        .append("x-twice", "2")
        .unwrap()
        .remove("cookie")
        .unwrap()
        .set("origin", "https://inside.test")
        .unwrap()
        .with(|headers| {
            if let Some(id) = headers.remove("x-request-id") {
                headers.insert("x-trace", id);
            }
        });
    let said = [
        ("X-Tenant", "forged"),
        ("X-Tenant", "twice"),
        ("X-Twice", "1"),
        ("Cookie", "a=1"),
        ("Origin", "https://app.test"),
        ("X-Request-Id", "7"),
    ];
    let asked = forwarded_with(&said, |layer| layer.request_headers(edits)).await;
    assert_eq!(values(&asked, "x-tenant"), ["blue"]);
    assert_eq!(values(&asked, "x-twice"), ["1", "2"]);
    assert_eq!(asked.get("cookie"), None);
    assert_eq!(values(&asked, "origin"), ["https://inside.test"]);
    assert_eq!(values(&asked, "x-trace"), ["7"]);
    assert_eq!(asked.get("x-request-id"), None);
}

#[tokio::test]
async fn users_may_change_what_is_told_of_the_client() {
    let edits = HeaderEdits::new()
        .set("x-forwarded-proto", "https")
        .unwrap()
        .remove("x-forwarded-host")
        .unwrap();
    let asked = forwarded_with(&[], |layer| layer.request_headers(edits)).await;
    assert_eq!(values(&asked, "x-forwarded-proto"), ["https"]);
    assert_eq!(asked.get("x-forwarded-host"), None);
}

#[tokio::test]
async fn edits_cannot_break_the_handshake() {
    let edits = HeaderEdits::new()
        .remove("sec-websocket-key")
        .unwrap()
        .set("sec-websocket-version", "8")
        .unwrap()
        .remove("connection")
        .unwrap()
        .append("upgrade", "h2c")
        .unwrap()
        .set("content-length", "5")
        .unwrap()
        .set("transfer-encoding", "chunked")
        .unwrap()
        .set("expect", "100-continue")
        .unwrap();
    let asked = forwarded_with(&[], |layer| layer.request_headers(edits)).await;
    assert_eq!(values(&asked, "sec-websocket-key"), [KEY]);
    assert_eq!(values(&asked, "sec-websocket-version"), ["13"]);
    assert_eq!(values(&asked, "connection"), ["Upgrade"]);
    assert_eq!(values(&asked, "upgrade"), ["websocket"]);
    for absent in ["content-length", "transfer-encoding", "expect"] {
        assert_eq!(asked.get(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn edits_cannot_take_the_host_away_rfc9112_3_2() {
    let edits = HeaderEdits::new().remove("host").unwrap();
    let asked = forwarded_with(&[], |layer| layer.request_headers(edits)).await;
    assert_eq!(values(&asked, "host"), [HOST]);
}

#[tokio::test]
async fn an_offer_that_an_edit_takes_away_cannot_be_accepted() {
    let upstream = RawUpstream::start(scripts::accept(&[(
        "Sec-WebSocket-Extensions",
        "permessage-deflate",
    )]))
    .await;
    let proxied = Proxied::with(&upstream, |layer| {
        let edits = HeaderEdits::new().remove("sec-websocket-extensions");
        layer.request_headers(edits.unwrap())
    })
    .await;
    let offer = &[("Sec-WebSocket-Extensions", "permessage-deflate")];
    let (_client, head) = proxied.handshake("/ws/x", offer).await;
    assert_eq!(head.status(), 502);
    assert_eq!(
        only_head(&upstream).await.get("sec-websocket-extensions"),
        None
    );
}

#[tokio::test]
async fn the_host_may_be_overridden() {
    let asked = forwarded_with(&[], |layer| {
        layer.host(http::HeaderValue::from_static("inside.test"))
    })
    .await;
    assert_eq!(values(&asked, "host"), ["inside.test"]);
    // The host that the client asked for is still reported.
    assert_eq!(values(&asked, "x-forwarded-host"), [HOST]);
}

#[tokio::test]
async fn via_is_written_where_it_is_asked_for_rfc9110_7_6_3() {
    let via = |layer: wsplice::ProxyLayer| layer.via(Via::new("edge").unwrap());
    let asked = forwarded_with(&[], via).await;
    assert_eq!(values(&asked, "via"), ["1.1 edge"]);
    let asked = forwarded_with(&[("Via", "1.0 first")], via).await;
    assert_eq!(values(&asked, "via").join(", "), "1.0 first, 1.1 edge");
}

/// Some servers know these names in this case alone.
#[tokio::test]
async fn names_are_written_as_the_rfc_writes_them_rfc6455_4_1() {
    let asked = forwarded(&[
        ("sec-websocket-protocol", "chat"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("x-custom-name", "1"),
    ])
    .await;
    let raw = String::from_utf8(asked.raw).unwrap();
    for name in [
        "Host",
        "Connection",
        "Upgrade",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
        "X-Custom-Name",
    ] {
        assert!(raw.contains(&format!("\r\n{name}: ")), "{name} in {raw}");
    }
}

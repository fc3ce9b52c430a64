//! Headers of the 101 and of every other response to the client.

use wsplice::ProxyLayer;
use wsplice::headers::{HeaderEdits, Via};

use super::kit::{Proxied, expect_page, values};
use crate::support::head::Head;
use crate::support::raw::ACCEPT;
use crate::support::scripts::{self, Then};
use crate::support::upstream::{RawUpstream, switching_protocols};

const OFFER: [(&str, &str); 2] = [
    ("Sec-WebSocket-Protocol", "chat"),
    ("Sec-WebSocket-Extensions", "permessage-deflate"),
];

/// The client's 101 when the upstream's has these further headers.
async fn accepted(
    extra: &'static [(&'static str, &'static str)],
    settings: impl FnOnce(ProxyLayer) -> ProxyLayer,
) -> Head {
    let upstream = RawUpstream::start(scripts::accept(extra)).await;
    let proxied = Proxied::with(&upstream, settings).await;
    let (mut client, head) = proxied.handshake("/ws/x", &OFFER).await;
    assert_eq!(head.status(), 101);
    client.send(b"bytes").await;
    assert_eq!(&client.read_exact(5).await[..], b"bytes");
    head
}

/// The client's response when the upstream refuses with these headers.
async fn refused(lines: &str, settings: impl FnOnce(ProxyLayer) -> ProxyLayer) -> Head {
    let answer = format!("HTTP/1.1 403 Forbidden\r\n{lines}Content-Length: 0\r\n\r\n");
    let upstream = RawUpstream::start(scripts::fixed(answer, Then::Hold)).await;
    let proxied = Proxied::with(&upstream, settings).await;
    let (mut client, head) = proxied.handshake("/ws/x", &OFFER).await;
    assert_eq!(head.status(), 403);
    expect_page(&mut client).await;
    head
}

fn expect_handshake(head: &Head) {
    assert!(head.start.starts_with("HTTP/1.1 101 "), "{}", head.start);
    assert_eq!(values(head, "connection"), ["Upgrade"]);
    assert_eq!(values(head, "upgrade"), ["websocket"]);
    assert_eq!(values(head, "sec-websocket-accept"), [ACCEPT]);
    for absent in ["content-length", "transfer-encoding", "keep-alive"] {
        assert_eq!(head.get(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn hop_by_hop_headers_of_a_101_stay_rfc9110_7_6_1() {
    let head = accepted(
        &[
            ("Connection", "X-Named, keep-alive"),
            ("X-Named", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Authenticate", "Basic"),
            ("Trailer", "X-T"),
            ("Alt-Svc", "h2=\":8443\""),
            ("Content-Length", "0"),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("Server", "app"),
            ("X-App", "1"),
        ],
        |layer| layer,
    )
    .await;
    expect_handshake(&head);
    for stripped in ["x-named", "proxy-authenticate", "trailer", "alt-svc"] {
        assert_eq!(head.get(stripped), None, "{stripped}");
    }
    assert_eq!(values(&head, "set-cookie"), ["a=1", "b=2"]);
    assert_eq!(values(&head, "server"), ["app"]);
    assert_eq!(values(&head, "x-app"), ["1"]);
}

#[tokio::test]
async fn a_101_cannot_name_away_the_handshake() {
    let head = accepted(
        &[
            (
                "Connection",
                "Sec-WebSocket-Accept, Sec-WebSocket-Protocol, Sec-WebSocket-Extensions, Set-Cookie",
            ),
            ("Sec-WebSocket-Protocol", "chat"),
            ("Sec-WebSocket-Extensions", "permessage-deflate"),
            ("Set-Cookie", "a=1"),
        ],
        |layer| layer,
    )
    .await;
    expect_handshake(&head);
    assert_eq!(values(&head, "sec-websocket-protocol"), ["chat"]);
    assert_eq!(
        values(&head, "sec-websocket-extensions"),
        ["permessage-deflate"]
    );
    assert_eq!(values(&head, "set-cookie"), ["a=1"]);
}

#[tokio::test]
async fn a_101_that_announces_a_body_has_none() {
    let upstream = RawUpstream::start(scripts::answer(
        |head| {
            let body = [("Transfer-Encoding", "chunked"), ("Content-Length", "5")];
            switching_protocols(head, &body)
        },
        Then::Echo,
    ))
    .await;
    let proxied = Proxied::before(&upstream).await;
    let (mut client, head) = proxied.handshake("/ws/x", &[]).await;
    expect_handshake(&head);
    client.send(b"bytes").await;
    assert_eq!(&client.read_exact(5).await[..], b"bytes");
}

#[tokio::test]
async fn hop_by_hop_headers_of_a_refusal_stay_rfc9110_7_6_1() {
    let head = refused(
        "Connection: close, X-Named\r\nX-Named: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n\
         Proxy-Authenticate: Basic\r\nAlt-Svc: h2=\":8443\"\r\nX-App: 1\r\nSet-Cookie: a=1\r\n",
        |layer| layer,
    )
    .await;
    for stripped in [
        "connection",
        "x-named",
        "keep-alive",
        "upgrade",
        "proxy-authenticate",
        "alt-svc",
    ] {
        assert_eq!(head.get(stripped), None, "{stripped}");
    }
    assert_eq!(values(&head, "x-app"), ["1"]);
    assert_eq!(values(&head, "set-cookie"), ["a=1"]);
}

fn edits() -> HeaderEdits {
    HeaderEdits::new()
        .remove("server")
        .unwrap()
        .set("x-edge", "1")
        .unwrap()
        .append("set-cookie", "edge=1")
        .unwrap()
}

#[tokio::test]
async fn users_edit_the_101() {
    let own = &[
        ("Server", "app"),
        ("Set-Cookie", "a=1"),
        ("X-Edge", "forged"),
    ];
    let head = accepted(own, |layer| layer.response_headers(edits())).await;
    expect_handshake(&head);
    assert_eq!(head.get("server"), None);
    assert_eq!(values(&head, "x-edge"), ["1"]);
    assert_eq!(values(&head, "set-cookie"), ["a=1", "edge=1"]);
}

#[tokio::test]
async fn users_edit_a_refusal() {
    let own = "Server: app\r\nSet-Cookie: a=1\r\n";
    let head = refused(own, |layer| layer.response_headers(edits())).await;
    assert_eq!(head.get("server"), None);
    assert_eq!(values(&head, "x-edge"), ["1"]);
    assert_eq!(values(&head, "set-cookie"), ["a=1", "edge=1"]);
}

#[tokio::test]
async fn edits_cannot_break_the_101() {
    let edits = HeaderEdits::new()
        .remove("sec-websocket-accept")
        .unwrap()
        .set("sec-websocket-protocol", "other")
        .unwrap()
        .remove("sec-websocket-extensions")
        .unwrap()
        .set("connection", "close")
        .unwrap()
        .append("upgrade", "h2c")
        .unwrap()
        .set("content-length", "5")
        .unwrap()
        .set("transfer-encoding", "chunked")
        .unwrap();
    let agreed = &[
        ("Sec-WebSocket-Protocol", "chat"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
    ];
    let head = accepted(agreed, |layer| layer.response_headers(edits)).await;
    expect_handshake(&head);
    assert_eq!(values(&head, "sec-websocket-protocol"), ["chat"]);
    assert_eq!(
        values(&head, "sec-websocket-extensions"),
        ["permessage-deflate"]
    );
}

#[tokio::test]
async fn edits_cannot_add_to_what_was_agreed() {
    let edits = HeaderEdits::new()
        .set("sec-websocket-accept", "forged")
        .unwrap()
        .set("sec-websocket-protocol", "chat")
        .unwrap()
        .append("sec-websocket-extensions", "permessage-deflate")
        .unwrap();
    let head = accepted(&[], |layer| layer.response_headers(edits)).await;
    expect_handshake(&head);
    assert_eq!(head.get("sec-websocket-protocol"), None);
    assert_eq!(head.get("sec-websocket-extensions"), None);
}

#[tokio::test]
async fn via_is_written_where_it_is_asked_for_rfc9110_7_6_3() {
    let via = |layer: ProxyLayer| layer.via(Via::new("edge").unwrap());
    let head = accepted(&[("Via", "1.1 inside")], via).await;
    expect_handshake(&head);
    assert_eq!(values(&head, "via").join(", "), "1.1 inside, 1.1 edge");
    let head = refused("", via).await;
    assert_eq!(values(&head, "via"), ["1.1 edge"]);
    let head = accepted(&[], |layer| layer).await;
    assert_eq!(head.get("via"), None);
}

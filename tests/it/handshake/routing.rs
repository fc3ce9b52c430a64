//! Owned requests, and the others, which reach the inner service as they came.

use axum::Router;
use axum::extract::ws::{Message as AxumMessage, WebSocketUpgrade};
use axum::routing::any;
use wsplice::ProxyLayer;
use wsplice::headers::{ClientInfo, Networks};
use wsplice::matcher::{
    Matcher, client_ip, header, host, method, path, query, subprotocol, websocket,
};

use super::kit::{
    Host, Proxied, expect_inner, expect_untouched, only_head, pages, pool, text, values,
};
use crate::support::clients::{Client, Fast, Message, Tungstenite};
use crate::support::raw::{handshake_request, request};
use crate::support::scripts;
use crate::support::upstream::RawUpstream;

#[tokio::test]
async fn a_request_that_is_no_upgrade_reaches_the_inner_service() {
    for host in Host::ALL {
        let upstream = RawUpstream::start(scripts::echo()).await;
        let proxied = Proxied::on(host, &upstream).await;
        for headers in [
            &[][..],
            &[("Connection", "Upgrade")],
            &[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")],
            &[("Connection", "Upgrade"), ("Upgrade", "h2c")],
            &[("Connection", "Upgrade"), ("Upgrade", "websockets")],
            &[("Connection", "Upgrade"), ("Upgrade", "not-websocket")],
            &[("Connection", "Upgrade"), ("Upgrade", "\"websocket\"")],
            &[("Connection", "Upgrade"), ("Upgrade", "TLS/1.0, HTTP/1.1")],
        ] {
            let (mut client, head) = proxied.send(&request("/ws/x", headers)).await;
            expect_inner(&mut client, &head, "/ws/x").await;
        }
        expect_untouched(&upstream).await;
    }
}

#[tokio::test]
async fn a_body_reaches_the_inner_service() {
    let pages = Router::new().fallback(|body: String| async move { body });
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = Proxied::around(pages, Host::Axum, pool([upstream.url()]), |layer| layer).await;
    let post = b"POST /ws/x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello";
    let (mut client, head) = proxied.send(post).await;
    assert_eq!(text(&mut client, &head).await, "hello");
    expect_untouched(&upstream).await;
}

#[tokio::test]
async fn an_upgrade_that_is_not_owned_reaches_the_inner_service() {
    for host in Host::ALL {
        let upstream = RawUpstream::start(scripts::echo()).await;
        let proxied = Proxied::on(host, &upstream).await;
        for target in ["/", "/ws", "/wsx", "/wsx/y", "/other/ws/x", "/WS/x"] {
            let (mut client, head) = proxied.handshake(target, &[]).await;
            expect_inner(&mut client, &head, target).await;
        }
        // A malformed handshake too: the proxy does not own it.
        let old = &[("Sec-WebSocket-Version", "8")];
        let (mut client, head) = proxied.handshake("/other", old).await;
        expect_inner(&mut client, &head, "/other").await;
        expect_untouched(&upstream).await;
    }
}

/// A WebSocket of the application itself: it sends `own` and then echoes.
fn own_websocket() -> Router {
    let own = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(|mut socket| async move {
            let _ = socket.send(AxumMessage::text("own")).await;
            while let Some(Ok(message)) = socket.recv().await {
                let _ = socket.send(message).await;
            }
        })
    };
    pages().route("/own", any(own)).route("/ws/own", any(own))
}

async fn reaches_the_own_websocket<C: Client>(proxied: &Proxied, target: &str) {
    let mut client = C::connect(proxied.server().addr(), target).await;
    assert_eq!(client.next().await, Message::Text("own".to_owned()));
    client.send_text("hello").await;
    assert_eq!(client.next().await, Message::Text("hello".to_owned()));
}

#[tokio::test]
async fn a_websocket_handler_behind_the_layer_works() {
    for host in Host::ALL {
        let upstream = RawUpstream::start(scripts::echo()).await;
        let pool = pool([upstream.url()]);
        let proxied = Proxied::around(own_websocket(), host, pool, |layer| layer).await;
        reaches_the_own_websocket::<Tungstenite>(&proxied, "/own").await;
        reaches_the_own_websocket::<Fast>(&proxied, "/own").await;
        expect_untouched(&upstream).await;
        // An owned request does not reach the handler, even where a route has the same path.
        let mut client = proxied.open("/ws/own").await;
        client.send(b"bytes").await;
        assert_eq!(&client.read_exact(5).await[..], b"bytes");
    }
}

#[tokio::test]
async fn a_websocket_handler_below_an_owned_path_can_be_left_out() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let all_but = path("/ws/*").and(path("/ws/own").not());
    let pool = pool([upstream.url()]);
    let proxied = Proxied::around(own_websocket(), Host::Axum, pool, |layer| {
        layer.matching(all_but)
    })
    .await;
    reaches_the_own_websocket::<Tungstenite>(&proxied, "/ws/own").await;
    expect_untouched(&upstream).await;
}

#[tokio::test]
async fn a_layer_that_owns_everything_leaves_ordinary_requests() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let pool = pool([upstream.url()]);
    let layer = ProxyLayer::new(pool);
    let server = crate::support::serve::serve_axum(pages().layer(layer)).await;
    let mut client = crate::support::raw::RawClient::connect(server.addr()).await;
    super::kit::expect_page(&mut client).await;
    assert_eq!(client.handshake("/page", &[]).await.status(), 101);
}

#[tokio::test]
async fn token_lists_may_take_several_lines_and_any_case_rfc6455_4_2_1() {
    for host in Host::ALL {
        for lists in [
            &[
                ("Connection", "keep-alive, Upgrade"),
                ("Upgrade", "websocket"),
            ][..],
            &[
                ("Connection", "keep-alive"),
                ("Connection", "uPGRADE"),
                ("Upgrade", "WebSocket"),
            ],
            &[
                ("Connection", " ,, upgrade ,"),
                ("Upgrade", "foo, websocket"),
            ],
            &[
                ("Connection", "Upgrade"),
                ("Upgrade", "foo/2"),
                ("Upgrade", "WEBSOCKET"),
            ],
            &[
                ("Connection", "Upgrade\t,x"),
                ("Upgrade", "h2c ,\twebsocket"),
            ],
        ] {
            let upstream = RawUpstream::start(scripts::echo()).await;
            let proxied = Proxied::on(host, &upstream).await;
            let (mut client, head) = proxied.handshake("/ws/x", lists).await;
            assert_eq!(head.status(), 101, "{lists:?}");
            client.send(b"bytes").await;
            assert_eq!(&client.read_exact(5).await[..], b"bytes");
            let asked = only_head(&upstream).await;
            assert_eq!(values(&asked, "upgrade"), ["websocket"], "{lists:?}");
            assert_eq!(values(&asked, "connection"), ["Upgrade"], "{lists:?}");
        }
    }
}

#[tokio::test]
async fn h2c_beside_websocket_is_never_forwarded() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = Proxied::before(&upstream).await;
    let lists = [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c, websocket"),
        ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
    ];
    let (_client, head) = proxied.handshake("/ws/x", &lists).await;
    assert_eq!(head.status(), 101);
    let asked = only_head(&upstream).await;
    let raw = String::from_utf8_lossy(&asked.raw).to_lowercase();
    assert!(!raw.contains("h2c") && !raw.contains("http2"), "{raw}");
}

#[tokio::test]
async fn matchers_compose_on_real_requests() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let matcher = path("/ws/*")
        .and(host("*.chat.test"))
        .and(method(http::Method::GET))
        .and(websocket())
        .and(subprotocol("v2").or(query("v", "2")))
        .and(header(http::header::COOKIE, "off").not());
    let proxied = Proxied::with(&upstream, |layer| layer.matching(matcher)).await;
    let right = [
        ("Host", "EU.chat.test:8080"),
        ("Sec-WebSocket-Protocol", "v1, v2"),
    ];

    let (_client, head) = proxied.handshake("/ws/x", &right).await;
    assert_eq!(head.status(), 101);
    let (_client, head) = proxied.handshake("/ws/x?v=2", &right[..1]).await;
    assert_eq!(head.status(), 101);
    for (target, headers) in [
        ("/ws/x", &right[..1]),
        ("/ws/x", &right[1..]),
        ("/x?v=2", &right),
        ("/ws/x?v=2", &[("Host", "chat.test")]),
        ("/ws/x?v=2", &[("Host", "a.eu.chat.test")]),
        ("/ws/x?v=2", &[("Host", "eu.chat.test"), ("Cookie", "off")]),
    ] {
        let (mut client, head) = proxied.handshake(target, headers).await;
        expect_inner(&mut client, &head, target).await;
    }
}

#[tokio::test]
async fn the_host_that_is_matched_is_the_host_that_is_forwarded_rfc9112_3_2_2() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = Proxied::with(&upstream, |layer| layer.matching(host("chat.test"))).await;
    // The target takes precedence over the header, for the matcher and for the upstream.
    let evil = handshake_request("http://private.test/ws/x", &[("Host", "chat.test")]);
    let (mut client, head) = proxied.send(&evil).await;
    assert!(text(&mut client, &head).await.starts_with("inner GET"));
    expect_untouched(&upstream).await;

    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = Proxied::with(&upstream, |layer| layer.matching(host("chat.test"))).await;
    let right = handshake_request("http://chat.test/ws/x?y=1", &[("Host", "private.test")]);
    let (_client, head) = proxied.send(&right).await;
    assert_eq!(head.status(), 101);
    let asked = only_head(&upstream).await;
    assert_eq!(asked.target(), "/ws/x?y=1");
    assert_eq!(values(&asked, "host"), ["chat.test"]);
    assert_eq!(values(&asked, "x-forwarded-host"), ["chat.test"]);
}

#[tokio::test]
async fn the_client_s_address_is_matched_through_trusted_proxies() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let inside = client_ip(["203.0.113.0/24"]).unwrap();
    let proxied = Proxied::with(&upstream, |layer| {
        layer
            .matching(inside)
            .trust(Networks::parse(["10.0.0.0/8"]).unwrap())
            .client_info(|_| {
                Some(ClientInfo::from(std::net::SocketAddr::from((
                    [10, 0, 0, 1],
                    5,
                ))))
            })
    })
    .await;
    for (forwarded, status) in [
        ("203.0.113.9", 101),
        ("6.6.6.6, 203.0.113.9, 10.0.0.2", 101),
        ("203.0.113.9, 6.6.6.6", 200),
        ("nonsense", 200),
    ] {
        let extra = &[("X-Forwarded-For", forwarded)];
        let (_client, head) = proxied.handshake("/ws/x", extra).await;
        assert_eq!(head.status(), status, "{forwarded}");
    }
}

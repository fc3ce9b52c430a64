//! The examples about authorization and limits, as they are in `examples/`.

use axum::{Router, http::HeaderMap, routing::get};
use jsonwebtoken::{EncodingKey, Header, encode};
use tokio_tungstenite::tungstenite::http::StatusCode;
use wsplice::tunnel::registry::by_key;

use crate::support::{
    axum_upstream,
    frames::read_frame,
    raw::RawClient,
    serve::{Server, serve_axum},
    tunnels::AcceptingUpstream,
};

#[allow(dead_code)]
#[path = "../../examples/admin.rs"]
mod admin;
#[allow(dead_code)]
#[path = "../../examples/auth.rs"]
mod auth;
#[allow(dead_code)]
#[path = "../../examples/cookie_origin.rs"]
mod cookie_origin;
#[allow(dead_code)]
#[path = "../../examples/custom_balance.rs"]
mod custom_balance;
#[allow(dead_code)]
#[path = "../../examples/forward_auth.rs"]
mod forward_auth;
#[allow(dead_code)]
#[path = "../../examples/jwt.rs"]
mod jwt;
#[allow(dead_code)]
#[path = "../../examples/limits_by_key.rs"]
mod limits_by_key;
#[allow(dead_code)]
#[path = "../../examples/nested.rs"]
mod nested;
#[allow(dead_code)]
#[path = "../../examples/token_subprotocol.rs"]
mod token_subprotocol;
#[allow(dead_code)]
#[path = "../../examples/two_layers.rs"]
mod two_layers;

async fn status(server: &Server, target: &str, extra: &[(&str, &str)]) -> u16 {
    let mut client = RawClient::connect(server.addr()).await;
    client.handshake(target, extra).await.status()
}

#[tokio::test]
async fn auth_by_a_database() {
    let mut upstream = AcceptingUpstream::start().await;
    let server = serve_axum(auth::app(&upstream.url()).unwrap()).await;
    let (user, root) = (("Cookie", "session=s3cret"), ("Cookie", "session=r00t"));
    assert_eq!(status(&server, "/ws/room", &[]).await, 401);
    assert_eq!(
        status(&server, "/ws/room", &[("Cookie", "session=x")]).await,
        401
    );
    assert_eq!(status(&server, "/ws/room", &[user]).await, 101);
    let _tunnel = upstream.next().await;
    assert_eq!(
        upstream.upstream().log().heads[0].get("x-user-id"),
        Some("alice")
    );
    for spelling in ["/ws/admin/x", "/ws//admin/x", "/ws/%61dmin/x"] {
        assert_eq!(status(&server, spelling, &[user]).await, 403, "{spelling}");
        assert_eq!(status(&server, spelling, &[root]).await, 101, "{spelling}");
    }
}

#[tokio::test]
async fn jwt_closes_at_its_expiry() {
    let upstream = axum_upstream::start().await;
    let app = jwt::app(&upstream.url(), b"secret").unwrap();
    let server = serve_axum(app).await;
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let token = |secret: &[u8], exp: u64| {
        let claims = serde_json::json!({ "sub": "alice", "exp": exp });
        let token = encode(
            &Header::default(),
            &claims,
            &EncodingKey::from_secret(secret),
        );
        format!("Bearer {}", token.unwrap())
    };
    for (token, expected) in [
        (token(b"secret", now + 3600), 101),
        (token(b"secret", now - 3600), 401),
        (token(b"forged", now + 3600), 401),
        (token(b"secret", u64::MAX), 401),
        ("Bearer nonsense".into(), 401),
    ] {
        let got = status(&server, "/ws/echo", &[("Authorization", &token)]).await;
        assert_eq!(got, expected, "{token}");
    }
    // The library accepts a token for a minute after its expiry.
    let mut client = RawClient::connect(server.addr()).await;
    let expired = token(b"secret", now - 1);
    let head = client
        .handshake("/ws/echo", &[("Authorization", &expired)])
        .await;
    assert_eq!(head.status(), 101);
    let close = read_frame(&mut client).await.close();
    assert_eq!(close, Some((4401, "token expired".into())));
}

/// A service that admits Alice, and has an opinion about handshakes.
async fn decide(headers: HeaderMap) -> Result<[(&'static str, &'static str); 1], StatusCode> {
    let is_handshake = |name: &str| name.starts_with("sec-websocket-") || name == "upgrade";
    if headers.keys().any(|name| is_handshake(name.as_str())) {
        return Err(StatusCode::UPGRADE_REQUIRED);
    }
    match headers.get("cookie") {
        Some(cookie) if cookie == "alice" && headers["x-forwarded-uri"] == "/ws/room?a=b" => {
            Ok([("x-user", "alice")])
        }
        _ => Err(StatusCode::IM_A_TEAPOT),
    }
}

#[tokio::test]
async fn forward_auth_asks_by_a_plain_get() {
    let mut upstream = AcceptingUpstream::start().await;
    let service = serve_axum(Router::new().route("/auth", get(decide))).await;
    let app = forward_auth::app(&upstream.url(), service.addr()).unwrap();
    let server = serve_axum(app).await;
    let target = "/ws/room?a=b";
    assert_eq!(status(&server, target, &[("Cookie", "bob")]).await, 418);
    let forged = [
        ("Cookie", "alice"),
        ("X-Forwarded-Uri", "/"),
        ("X-User", "root"),
    ];
    assert_eq!(status(&server, target, &forged).await, 101);
    let _tunnel = upstream.next().await;
    let head = &upstream.upstream().log().heads[0];
    assert_eq!(head.all("x-user").collect::<Vec<_>>(), ["alice"]);
    drop(service);
}

#[tokio::test]
async fn limits_by_key_and_a_log_out() {
    let mut upstream = AcceptingUpstream::start().await;
    let server = serve_axum(limits_by_key::app(&upstream.url()).unwrap()).await;
    let mut alice = Vec::new();
    for _ in 0..2 {
        alice.push(RawClient::open(server.addr(), "/ws/room?user=alice").await);
    }
    let _tunnels = [upstream.next().await, upstream.next().await];
    assert_eq!(status(&server, "/ws/room?user=alice", &[]).await, 429);
    assert_eq!(status(&server, "/ws/room?user=bob", &[]).await, 101);
    assert_eq!(status(&server, "/ws/room", &[]).await, 401);

    let mut operator = RawClient::connect(server.addr()).await;
    operator
        .send(b"POST /log-out/alice HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        .await;
    let head = operator.read_head().await;
    assert_eq!(&operator.read_body(&head).await[..], b"2 sockets closed\n");
    for client in &mut alice {
        let close = read_frame(client).await.close();
        assert_eq!(close, Some((1008, "logged out".into())));
    }
}

#[tokio::test]
async fn a_token_as_a_subprotocol_becomes_a_header() {
    let mut upstream = AcceptingUpstream::with(&[("Sec-WebSocket-Protocol", "chat")]).await;
    let server = serve_axum(token_subprotocol::app(&upstream.url()).unwrap()).await;
    let name = "Sec-WebSocket-Protocol";
    for offer in ["chat", "chat, bearer.a, bearer.b"] {
        assert_eq!(status(&server, "/ws/a", &[(name, offer)]).await, 401);
    }
    let mut client = RawClient::connect(server.addr()).await;
    let head = client
        .handshake("/ws/a", &[(name, "chat, bearer.t0ken, v2")])
        .await;
    assert_eq!(
        (head.status(), head.get(name.to_lowercase().as_str())),
        (101, Some("chat"))
    );
    let _tunnel = upstream.next().await;
    let head = &upstream.upstream().log().heads[0];
    assert_eq!(head.get("authorization"), Some("Bearer t0ken"));
    assert_eq!(head.get("sec-websocket-protocol"), Some("chat, v2"));
    assert_eq!(head.get("x-offered-subprotocols"), None);
}

#[tokio::test]
async fn a_cookie_counts_only_from_a_page_of_this_host() {
    let upstream = axum_upstream::start().await;
    let server = serve_axum(cookie_origin::app(&upstream.url()).unwrap()).await;
    let cookie = ("Cookie", "session=s3cret");
    for (extra, expected) in [
        (&[cookie, ("Origin", "http://app.test")][..], 101),
        (&[cookie, ("Origin", "https://app.example")], 101),
        (&[cookie, ("Origin", "https://evil.example")], 403),
        (&[cookie], 403),
        (&[("Authorization", "Bearer t0ken")], 101),
        (&[("Authorization", "Bearer x")], 401),
        (&[], 401),
    ] {
        assert_eq!(
            status(&server, "/ws/echo", extra).await,
            expected,
            "{extra:?}"
        );
    }
}

#[tokio::test]
async fn two_layers_have_one_registry() {
    let mut upstream = AcceptingUpstream::start().await;
    let (app, registry) = two_layers::app(&upstream.url(), &upstream.url()).unwrap();
    let server = serve_axum(app).await;
    let _clients = [
        RawClient::open(server.addr(), "/chat/a").await,
        RawClient::open(server.addr(), "/feed/a").await,
    ];
    let _tunnels = [upstream.next().await, upstream.next().await];
    assert_eq!(
        (registry.count(), registry.count_where(by_key("x"))),
        (2, 0)
    );
    let mut client = RawClient::connect(server.addr()).await;
    client.send_request("/", &[]).await;
    let head = client.read_head().await;
    assert_eq!(&client.read_body(&head).await[..], b"2 sockets\n");
}

/// Body of the response to a request without one.
async fn ask(server: &Server, method: &str, target: &str) -> String {
    let mut client = RawClient::connect(server.addr()).await;
    let request = format!("{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    client.send(request.as_bytes()).await;
    let head = client.read_head().await;
    String::from_utf8(client.read_body(&head).await.to_vec()).unwrap()
}

#[tokio::test]
async fn an_operator_lists_kicks_closes_and_drains() {
    let mut upstream = AcceptingUpstream::start().await;
    let (app, operator) = admin::apps(&upstream.url()).unwrap();
    let (server, operator) = (serve_axum(app).await, serve_axum(operator).await);
    let mut clients = Vec::new();
    let mut tunnels = Vec::new();
    for target in [
        "/ws/a?user=alice",
        "/ws/a?user=alice",
        "/ws/b?user=bob",
        "/ws/c",
    ] {
        clients.push(RawClient::open(server.addr(), target).await);
        tunnels.push(upstream.next().await);
    }
    let listed = ask(&operator, "GET", "/sockets").await;
    assert_eq!(listed.lines().count(), 4, "{listed}");
    assert_eq!(listed.matches(" alice /ws/").count(), 2, "{listed}");
    assert!(listed.contains(" guest /ws/c "), "{listed}");

    assert_eq!(ask(&operator, "POST", "/kick/alice").await, "2 closed\n");
    assert_eq!(ask(&operator, "POST", "/close/ws/b").await, "1 closed\n");
    for (client, close) in
        clients
            .iter_mut()
            .zip([(1008, "kicked"), (1008, "kicked"), (1012, "the room moves")])
    {
        let expected = Some((close.0, close.1.to_owned()));
        assert_eq!(read_frame(client).await.close(), expected);
    }
    // The ends of the first three are over when both of their sides are gone.
    clients.drain(..3);
    tunnels.drain(..3);
    let draining = ask(&operator, "POST", "/drain");
    let leaving = async {
        let close = read_frame(&mut clients[0]).await.close();
        assert_eq!(close.map(|(code, _)| code), Some(1001));
        clients.clear();
        tunnels.clear();
    };
    let (drained, ()) = tokio::join!(draining, leaving);
    assert!(drained.ends_with(" closed, 0 aborted\n"), "{drained}");
    assert_eq!(status(&server, "/ws/a", &[]).await, 503);
}

#[tokio::test]
async fn a_custom_balance_prefers_the_region_while_it_has_room() {
    let (mut europe, mut america) = (
        AcceptingUpstream::start().await,
        AcceptingUpstream::start().await,
    );
    let app = custom_balance::app(&europe.url(), &america.url(), 2).unwrap();
    let server = serve_axum(app).await;
    let mut open = Vec::new();
    for in_europe in [true, true, false] {
        let mut client = RawClient::connect(server.addr()).await;
        let head = client.handshake("/ws/a", &[("X-Region", "eu")]).await;
        assert_eq!(head.status(), 101);
        let upstream = if in_europe { &mut europe } else { &mut america };
        open.push((client, upstream.next().await));
    }
    // A region that is unknown is served as well.
    assert_eq!(status(&server, "/ws/a", &[("X-Region", "mars")]).await, 101);
    assert_eq!(status(&server, "/ws/a", &[]).await, 101);
}

#[tokio::test]
async fn nested_matches_within_the_prefix_or_the_whole_path() {
    let mut upstream = AcceptingUpstream::start().await;
    let pool = wsplice::Pool::new([upstream.url()]).unwrap().build();
    let server = serve_axum(nested::app(pool)).await;
    assert_eq!(ask(&server, "GET", "/app/hello").await, "hello\n");
    assert_eq!(ask(&server, "GET", "/app/x").await, "nothing here\n");
    assert_eq!(status(&server, "/app/ws/room", &[]).await, 101);
    let _tunnel = upstream.next().await;
    let head = upstream.upstream().log().heads.remove(0);
    assert_eq!(head.target(), "/chat/room");
    if cfg!(feature = "axum") {
        assert_eq!(head.get("x-forwarded-prefix"), Some("/app"));
        assert_eq!(status(&server, "/v2/ws/room", &[]).await, 101);
        let _tunnel = upstream.next().await;
        assert_eq!(upstream.upstream().log().heads[1].target(), "/v2/ws/room");
    } else {
        // Without the feature the layer sees the path within `nest` alone.
        assert_eq!(status(&server, "/v2/ws/room", &[]).await, 404);
    }
}

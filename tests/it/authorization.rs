//! The host's decisions on requests, over real sockets: authorization, options, limits by key.

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use tokio::sync::{mpsc, watch};
use wsplice::{
    AuthorizationRequest, ErrorKind, ForwardHttp, KeyLimit, Pool, ProxyLayer, Rejection,
    RequestOptions, Upstream,
    frame::{CloseCode, CloseFrame},
    head::RequestHead,
    headers::UpstreamHeaders,
    matcher::path,
    tunnel::TunnelEnd,
};

use crate::support::{
    axum_upstream,
    deadline::within,
    raw::{RawClient, request},
    serve::serve_axum,
    tunnels::{AcceptingUpstream, BOTH, Ends, ProxyServer},
};

/// Admits each client as the user that its `Authorization` names.
async fn by_token(request: AuthorizationRequest) -> Result<RequestOptions, Rejection> {
    let user = request.bearer_token().ok_or(StatusCode::UNAUTHORIZED)?;
    let header = HeaderValue::from_str(user).map_err(|_| StatusCode::BAD_REQUEST)?;
    let options = RequestOptions::new().key(user).label("socket");
    Ok(options
        .header(HeaderName::from_static("x-user"), header)
        .value(user.len()))
}

fn bearer(user: &str) -> [(&'static str, String); 1] {
    [("Authorization", format!("Bearer {user}"))]
}

async fn open_as(proxy: &ProxyServer, accepting: &mut AcceptingUpstream, user: &str) -> Ends {
    let [(name, token)] = bearer(user);
    Ends::open_with(proxy, accepting, "/ws/room", &[(name, &token)]).await
}

#[tokio::test]
async fn an_admitted_handshake_has_a_tunnel_with_the_options_of_the_host() {
    let mut accepting = AcceptingUpstream::start().await;
    let proxy = ProxyServer::with([accepting.url()], |layer| layer.authorize(by_token)).await;
    let extra = [
        ("Authorization", "Bearer alice"),
        ("X-User", "mallory"),
        ("Connection", "Upgrade, X-User"),
    ];
    let ends = Ends::open_with(&proxy, &mut accepting, "/ws/room", &extra).await;
    let head = &accepting.upstream().log().heads[0];
    let users: Vec<_> = head.all("x-user").collect();
    assert_eq!(users, ["alice"]);
    let listed = proxy.registry().list_by_key("alice");
    assert_eq!(listed.len(), 1);
    let info = &listed[0].info;
    assert_eq!(
        (info.label(), info.value()),
        (Some("socket"), Some(&5_usize))
    );
    drop(ends);
    proxy.report().await;
    assert_eq!(proxy.events().closed[0].0.key(), Some("alice"));
}

#[tokio::test]
async fn a_rejection_is_the_response_of_the_host_and_reaches_no_upstream() {
    let accepting = AcceptingUpstream::start().await;
    let reject = |request: AuthorizationRequest| async move {
        assert!(request.is_handshake());
        let mut response = Response::new(Body::from("no such user"));
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        let realm = HeaderValue::from_static("Bearer");
        response.headers_mut().insert("www-authenticate", realm);
        Err::<(), _>(response)
    };
    let proxy = ProxyServer::with([accepting.url()], |layer| layer.authorize(reject)).await;
    let mut client = RawClient::connect(proxy.addr()).await;
    let head = client.handshake("/ws/a", &[]).await;
    assert_eq!(
        (head.status(), head.get("www-authenticate")),
        (418, Some("Bearer"))
    );
    assert_eq!(&client.read_body(&head).await[..], b"no such user");
    assert_eq!(accepting.upstream().log().accepted, 0);
    assert_eq!(proxy.events().rejected, [ErrorKind::NotAuthorized]);
}

#[tokio::test]
async fn a_panic_of_the_function_is_a_500_on_a_connection_that_lives_on() {
    let accepting = AcceptingUpstream::start().await;
    for at_once in [true, false] {
        let authorize = move |request: AuthorizationRequest| {
            assert!(!at_once, "a bug in the function");
            async move {
                assert_eq!(request.client_ip(), None, "a bug in the future");
                Ok::<_, Rejection>(())
            }
        };
        let proxy = ProxyServer::with([accepting.url()], |layer| {
            let from = wsplice::headers::ClientInfo::new().with_peer(([192, 0, 2, 1], 5).into());
            layer.client_info(move |_| Some(from)).authorize(authorize)
        })
        .await;
        let mut client = RawClient::connect(proxy.addr()).await;
        for _ in 0..2 {
            let head = client.handshake("/ws/a", &[]).await;
            assert_eq!(head.status(), 500);
            assert_eq!(
                &client.read_body(&head).await[..],
                b"the handling of the request panicked\n"
            );
        }
        let panicked = ErrorKind::Panic;
        assert_eq!(proxy.events().rejected, [panicked, panicked]);
    }
}

#[tokio::test]
async fn the_function_is_dropped_when_the_client_leaves() {
    let accepting = AcceptingUpstream::start().await;
    let (started, mut starts) = mpsc::unbounded_channel();
    let authorize = move |_: AuthorizationRequest| {
        let started = started.clone();
        async move {
            let (alive, watched) = watch::channel(());
            started.send(watched).expect("the test listens");
            pending::<()>().await;
            drop(alive);
            Ok::<_, Rejection>(())
        }
    };
    let proxy = ProxyServer::with([accepting.url()], |layer| layer.authorize(authorize)).await;
    let mut client = RawClient::connect(proxy.addr()).await;
    client
        .send(&crate::support::raw::handshake_request("/ws/a", &[]))
        .await;
    let mut alive = within("the function to start", starts.recv())
        .await
        .unwrap();
    drop(client);
    let ended = within("the function to be dropped", alive.changed()).await;
    assert!(ended.is_err(), "the sender is gone");
    assert_eq!(accepting.upstream().log().accepted, 0);
}

#[tokio::test]
async fn no_spelling_of_a_forbidden_path_leads_past_the_function() {
    let upstream = axum_upstream::start().await;
    let authorize = |request: AuthorizationRequest| async move {
        match request.may_match(&path("/ws/admin/*")) {
            true => Err(StatusCode::FORBIDDEN),
            false => Ok(()),
        }
    };
    let proxy = ProxyServer::with([upstream.url()], |layer| layer.authorize(authorize)).await;
    for target in [
        "/ws/admin/users",
        "/ws//admin/users",
        "//ws/admin/users",
        "/ws/%61dmin/users",
        "/ws/./admin/users",
        "/ws/x/../admin/users",
        "/ws/x%2f..%2fadmin/users",
        "/ws/x/..%2fadmin/users",
        "/ws/admin%2fusers",
        "/ws\\admin\\users",
        "/ws/admin;x=1/users",
        "/ws/%2561dmin/users",
    ] {
        let mut client = RawClient::connect(proxy.addr()).await;
        let head = client.handshake(target, &[]).await;
        // Not owned, or forbidden.
        assert!(
            matches!(head.status(), 200 | 400 | 403),
            "{target}: {}",
            head.status()
        );
    }
    let mut client = RawClient::connect(proxy.addr()).await;
    assert_eq!(client.handshake("/ws/echo", &[]).await.status(), 101);
}

#[tokio::test]
async fn a_forwarded_request_is_authorized_too() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let app = {
        let seen = Arc::clone(&seen);
        axum::Router::new().fallback(move |headers: http::HeaderMap| async move {
            seen.lock().unwrap().push(headers.get("x-user").cloned());
            "upstream"
        })
    };
    let upstream = serve_axum(app).await;
    let layer = ProxyLayer::new(Pool::new([upstream.url()]).unwrap())
        .matching(path("/api/*"))
        .forward_http(ForwardHttp::new())
        .authorize(|request: AuthorizationRequest| async move {
            assert!(!request.is_handshake());
            by_token(request).await
        });
    let proxy = serve_axum(axum::Router::new().layer(layer)).await;
    for (headers, status) in [
        (&[][..], 401),
        (&[("Authorization", "Bearer bob"), ("X-User", "eve")], 200),
    ] {
        let mut client = RawClient::connect(proxy.addr()).await;
        client.send(&request("/api/list", headers)).await;
        assert_eq!(client.read_head().await.status(), status);
    }
    assert_eq!(
        *seen.lock().unwrap(),
        [Some(HeaderValue::from_static("bob"))]
    );
}

#[tokio::test]
async fn options_of_a_middleware_count_where_the_function_gives_none() {
    let mut accepting = AcceptingUpstream::start().await;
    let layer = ProxyLayer::new(Pool::new([accepting.url()]).unwrap())
        .matching(path("/ws/*"))
        .authorize(|request: AuthorizationRequest| async move {
            let given = request.extensions().get::<RequestOptions>();
            assert!(given.is_some());
            Ok::<_, Rejection>(RequestOptions::new().key("alice"))
        });
    let registry = layer.registry();
    let options = RequestOptions::new().key("nobody").label("tenant 7");
    let mut headers = UpstreamHeaders::new();
    headers.insert(
        HeaderName::from_static("x-tenant"),
        HeaderValue::from_static("7"),
    );
    let app = axum::Router::new()
        .layer(layer)
        .layer(axum::Extension(options.headers(&headers)));
    let proxy = serve_axum(app).await;
    let _client = RawClient::open(proxy.addr(), "/ws/a").await;
    let _upstream = accepting.next().await;
    let head = &accepting.upstream().log().heads[0];
    assert_eq!(head.get("x-tenant"), Some("7"));
    let listed = registry.list();
    let info = &listed[0].info;
    assert_eq!(
        (info.key(), info.label()),
        (Some("alice"), Some("tenant 7"))
    );
}

/// Middleware that knows nothing of the proxy.
async fn middleware(
    mut request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Result<axum::response::Response, (StatusCode, &'static str)> {
    let token = request.headers().get("authorization").cloned();
    let user = token.ok_or((StatusCode::UNAUTHORIZED, "who are you?"))?;
    request.headers_mut().insert("x-user", user);
    let options = RequestOptions::new().key("alice");
    request.extensions_mut().insert(options);
    Ok(next.run(request).await)
}

#[tokio::test]
async fn a_tower_layer_guards_the_proxy_alone() {
    let mut accepting = AcceptingUpstream::start().await;
    let guard = axum::middleware::from_fn(middleware);
    let proxy = ProxyServer::with([accepting.url()], |layer| layer.guard(guard)).await;
    let mut client = RawClient::connect(proxy.addr()).await;
    let head = client.handshake("/ws/a", &[]).await;
    assert_eq!(head.status(), 401);
    assert_eq!(&client.read_body(&head).await[..], b"who are you?");
    let mut client = RawClient::connect(proxy.addr()).await;
    client.send(&request("/page", &[])).await;
    assert_eq!(client.read_head().await.status(), 200, "not the proxy's");

    let extra = [
        ("Authorization", "alice"),
        ("X-User", "root"),
        ("X_User", "root"),
    ];
    let _ends = Ends::open_with(&proxy, &mut accepting, "/ws/a", &extra).await;
    let head = &accepting.upstream().log().heads[0];
    assert_eq!(head.all("x-user").collect::<Vec<_>>(), ["alice"]);
    assert_eq!(head.get("x_user"), None);
    assert_eq!(head.all("authorization").collect::<Vec<_>>(), ["alice"]);
    assert_eq!(proxy.registry().count_by_key("alice"), 1);
}

#[tokio::test]
async fn a_guard_that_fails_is_a_500() {
    let accepting = AcceptingUpstream::start().await;
    let guard = tower::layer::layer_fn(|_: wsplice::proxy::Admit| {
        tower::service_fn(|_: http::Request<Body>| async {
            let failed = std::io::Error::other("a bug");
            Err::<Response<http_body_util::Empty<bytes::Bytes>>, _>(failed)
        })
    });
    let proxy = ProxyServer::with([accepting.url()], |layer| layer.guard(guard)).await;
    let mut client = RawClient::connect(proxy.addr()).await;
    assert_eq!(client.handshake("/ws/a", &[]).await.status(), 500);
}

#[tokio::test]
async fn functions_make_headers_of_the_head_for_both_directions() {
    let mut accepting = AcceptingUpstream::start().await;
    let proxy = ProxyServer::with([accepting.url()], |layer| {
        layer
            .headers_for_upstream(|head: &RequestHead<'_>| {
                let mut headers = UpstreamHeaders::new();
                let path = HeaderValue::from_str(head.path()).unwrap();
                headers.insert(HeaderName::from_static("x-path"), path);
                headers
            })
            .headers_for_client(|head: &RequestHead<'_>| {
                let mut headers = http::HeaderMap::new();
                headers.insert("x-room", HeaderValue::from_str(head.path()).unwrap());
                headers.insert("sec-websocket-accept", HeaderValue::from_static("forged"));
                headers
            })
    })
    .await;
    let mut client = RawClient::connect(proxy.addr()).await;
    let extra = [("X-Path", "forged"), ("Connection", "Upgrade, X-Path")];
    let head = client.handshake("/ws//room", &extra).await;
    assert_eq!((head.status(), head.get("x-room")), (101, Some("/ws/room")));
    assert_eq!(
        head.get("sec-websocket-accept"),
        Some(crate::support::raw::ACCEPT)
    );
    let _upstream = accepting.next().await;
    let head = &accepting.upstream().log().heads[0];
    assert_eq!(head.all("x-path").collect::<Vec<_>>(), ["/ws/room"]);
}

#[tokio::test]
async fn one_line_logs_a_user_out_everywhere() {
    let mut accepting = AcceptingUpstream::start().await;
    let registry = wsplice::Registry::new();
    let start = async |name: &'static str| {
        ProxyServer::with([accepting.url()], |layer| {
            let user = move |_| async move { Ok::<_, Rejection>(RequestOptions::new().key(name)) };
            layer.authorize(user).with_registry(&registry)
        })
        .await
    };
    let (first, second) = (start("alice").await, start("bob").await);
    let mut alice = Ends::open(&first, &mut accepting).await;
    let _bob = Ends::open(&second, &mut accepting).await;
    assert_eq!(registry.count(), 2);
    let frame = CloseFrame::new(CloseCode::from(4001), "logged out");
    assert_eq!(registry.close_by_key("alice", frame), 1);
    for side in BOTH {
        let frame = alice.frame_at(side).await;
        assert_eq!(frame.close(), Some((4001, "logged out".into())));
    }
    drop(alice);
    let report = first.report_of_one().await;
    assert_eq!(report.end, TunnelEnd::Requested);
    assert_eq!(registry.count(), 1);
}

#[tokio::test]
async fn a_user_has_no_more_tunnels_than_the_limit_and_another_user_has_his_own() {
    let mut accepting = AcceptingUpstream::start().await;
    let proxy = ProxyServer::with([accepting.url()], |layer| {
        layer
            .authorize(by_token)
            .limit_by_key(KeyLimit::by_request_key().max_tunnels(2))
    })
    .await;
    let first = open_as(&proxy, &mut accepting, "alice").await;
    let _second = open_as(&proxy, &mut accepting, "alice").await;
    let [(name, token)] = bearer("alice");
    let mut third = RawClient::connect(proxy.addr()).await;
    let head = third.handshake("/ws/a", &[(name, &token)]).await;
    assert_eq!(head.status(), 429);
    let retry_after: u64 = head.get("retry-after").unwrap().parse().unwrap();
    assert!((2..=5).contains(&retry_after));
    assert_eq!(proxy.events().rejected, [ErrorKind::TooManyTunnelsForKey]);

    let _other = open_as(&proxy, &mut accepting, "bob").await;
    drop(first);
    proxy
        .wait_for("the first tunnel's end", |events| !events.closed.is_empty())
        .await;
    let _third = open_as(&proxy, &mut accepting, "alice").await;
}

#[tokio::test]
async fn a_refused_handshake_keeps_no_place_under_its_key() {
    let upstream = axum_upstream::start().await;
    let limit = KeyLimit::by(|head: &RequestHead<'_>| Some(head.method().to_string()));
    let limit = limit.max_tunnels(1);
    let shown = limit.clone();
    let proxy = ProxyServer::with([upstream.url()], |layer| layer.limit_by_key(limit)).await;
    for _ in 0..3 {
        let mut client = RawClient::connect(proxy.addr()).await;
        assert_eq!(client.handshake("/ws/nothing", &[]).await.status(), 404);
    }
    assert_eq!(shown.keys(), 0);
}

#[tokio::test]
async fn the_preferred_upstream_is_used_while_it_can_be() {
    let mut upstreams = Vec::new();
    for _ in 0..3 {
        upstreams.push(AcceptingUpstream::start().await);
    }
    let pool = Pool::from_upstreams(upstreams.iter().zip(["a", "b", "b"]).map(|(one, zone)| {
        let upstream = Upstream::new(&one.url()).unwrap();
        upstream.tag("zone", zone)
    }))
    .build();
    let name = upstreams[2].url().trim_start_matches("ws://").to_owned();
    let layer = ProxyLayer::new(pool.clone())
        .matching(path("/ws/*"))
        .authorize(move |request: AuthorizationRequest| {
            let options = RequestOptions::new();
            let options = match request.head().path() {
                "/ws/zone" => options.prefer_tag("zone", "a"),
                _ => options.prefer_upstream(name.clone()),
            };
            async { Ok::<_, Rejection>(options) }
        });
    let proxy = serve_axum(axum::Router::new().layer(layer)).await;
    for _ in 0..6 {
        RawClient::open(proxy.addr(), "/ws/zone").await;
        RawClient::open(proxy.addr(), "/ws/name").await;
    }
    let accepted = |upstream: &AcceptingUpstream| upstream.upstream().log().accepted;
    let counts: Vec<_> = upstreams.iter().map(accepted).collect();
    assert_eq!(counts, [6, 0, 6]);
    // Without it, the request goes elsewhere.
    pool.remove(upstreams[2].url().trim_start_matches("ws://"));
    RawClient::open(proxy.addr(), "/ws/name").await;
    let counts: Vec<_> = upstreams.iter().map(accepted).collect();
    assert_eq!((counts[0] + counts[1], counts[2]), (7, 6));
}

//! Functions of the host that panic: the client gets a 500, and its connection lives on.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use http::HeaderMap;
use wsplice::{
    AuthorizationRequest, ErrorKind, ForwardHttp, KeyLimit, Observer, Pool, ProxyLayer, Rejection,
    frame::CloseCode,
    head::RequestHead,
    headers::{ClientInfo, HeaderEdits, UpstreamHeaders},
    matcher::{AnyMatcher, Matcher, path},
    observe::RequestInfo,
    tunnel::reattach::{Reattach, ReattachRefusal},
};

use crate::support::{
    deadline::within,
    frames::{masked, read_frame, text},
    raw::{RawClient, handshake_request},
    serve::serve_axum,
    tunnels::{AcceptingUpstream, ProxyServer},
    upstream::{RawConn, RawUpstream},
};

type Layer = ProxyLayer<ForwardHttp>;

/// Whether a panic is a failure of the request, or is made up for by a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Fails,
    GoesOn,
}

/// A function of the host that panics, and the requests that reach it.
struct Case {
    name: &'static str,
    set: fn(Layer) -> Layer,
    handshake: Then,
    forwarded: Then,
}

fn case(name: &'static str, handshake: Then, forwarded: Then, set: fn(Layer) -> Layer) -> Case {
    Case {
        name,
        set,
        handshake,
        forwarded,
    }
}

/// Every function of the host that the handling of a request calls.
fn cases() -> Vec<Case> {
    use Then::{Fails, GoesOn};

    fn matcher() -> AnyMatcher {
        (|_: &RequestHead<'_>| -> bool { panic!("no such table") }).boxed()
    }
    fn edits() -> HeaderEdits {
        HeaderEdits::new().with(|_: &mut HeaderMap| panic!("no such header"))
    }
    vec![
        case("matching", Fails, Fails, |layer| layer.matching(matcher())),
        case("allow_origins", Fails, Fails, |layer| {
            layer.allow_origins(matcher())
        }),
        case("client_info", Fails, Fails, |layer| {
            layer.client_info(|_| -> Option<ClientInfo> { panic!("no such client") })
        }),
        case("authorize", Fails, Fails, |layer| {
            layer.authorize(|request: AuthorizationRequest| async move {
                assert!(request.uri().path().is_empty(), "no such user");
                Ok::<_, Rejection>(())
            })
        }),
        case("KeyLimit::by", Fails, GoesOn, |layer| {
            let key = |_: &RequestHead<'_>| -> Option<String> { panic!("no such key") };
            layer.limit_by_key(KeyLimit::by(key).max_tunnels(9))
        }),
        case("headers_for_upstream", Fails, Fails, |layer| {
            layer.headers_for_upstream(|_| -> UpstreamHeaders { panic!("no such tenant") })
        }),
        case("headers_for_client", Fails, Fails, |layer| {
            layer.headers_for_client(|_| -> HeaderMap { panic!("no such trace") })
        }),
        case("request_headers", Fails, Fails, |layer| {
            layer.request_headers(edits())
        }),
        case("response_headers", Fails, Fails, |layer| {
            layer.response_headers(edits())
        }),
        case("make_span", GoesOn, GoesOn, |layer| {
            layer.make_span(|_| panic!("no such trace"))
        }),
        case("observer", GoesOn, GoesOn, |layer| layer.observer(Panics)),
    ]
}

struct Panics;

impl Observer for Panics {
    fn handshake_accepted(&self, _: &RequestInfo<'_>) {
        panic!("no such counter");
    }

    fn request_responded(&self, _: &RequestInfo<'_>, _: http::StatusCode) {
        panic!("no such counter");
    }
}

/// An upstream that accepts handshakes, and responds with a page to other requests.
async fn serve(mut conn: RawConn) {
    while let Some(head) = conn.try_read_request_head().await {
        if head.get("upgrade").is_some() {
            conn.accept_101(&head, &[]).await;
            let _ = conn.try_read_some().await;
            return;
        }
        let page = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nupstream";
        let _ = conn.try_send(page).await;
    }
}

#[tokio::test]
async fn a_function_of_the_host_that_panics_is_a_500_on_a_connection_that_lives_on() {
    for case in cases() {
        let upstream = RawUpstream::start(serve).await;
        let pool: Pool = Pool::new([upstream.url()]).unwrap().into();
        let layer = ProxyLayer::new(pool.clone())
            .matching(path("/ws/*").or(path("/inner")))
            .allow_origins(path("/*"))
            .forward_http(ForwardHttp::new());
        let layer = (case.set)(layer);
        let server = serve_axum(Router::new().layer(layer)).await;
        let mut client = RawClient::connect(server.addr()).await;
        for _ in 0..2 {
            client
                .send_request("/ws/a", &[("Origin", "http://app.test")])
                .await;
            let head = client.read_head().await;
            let body = client.read_body(&head).await;
            match case.forwarded {
                Then::Fails => {
                    assert_eq!(head.status(), 500, "{}", case.name);
                    assert_eq!(body, "the handling of the request panicked\n");
                }
                Then::GoesOn => assert_eq!(head.status(), 200, "{}", case.name),
            }
        }
        // On the same connection, which has outlived the panics.
        let head = client
            .handshake("/ws/a", &[("Origin", "http://app.test")])
            .await;
        let expected = match case.handshake {
            Then::Fails => 500,
            Then::GoesOn => 101,
        };
        assert_eq!(head.status(), expected, "{}", case.name);
        drop(client);
        within("all leases to end", async {
            let is_leased = || {
                pool.snapshot()
                    .iter()
                    .any(|it| it.tunnels + it.handshakes > 0)
            };
            while is_leased() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_panic_is_reported_as_a_rejection_with_its_message() {
    let accepting = AcceptingUpstream::start().await;
    let limit = || KeyLimit::by(|_: &RequestHead<'_>| panic!("no {} key", "such"));
    let proxy = ProxyServer::with([accepting.url()], |layer| {
        layer
            .limit_by_key(limit())
            .map_rejection(|error, mut response| {
                *response.body_mut() = format!("{error:#}").into();
                response
            })
    })
    .await;
    let mut client = RawClient::connect(proxy.addr()).await;
    let head = client.handshake("/ws/a", &[]).await;
    let body = client.read_body(&head).await;
    assert_eq!(body, "the handling of the request panicked: no such key");
    assert_eq!(proxy.events().rejected, [ErrorKind::Panic]);
    assert_eq!(accepting.upstream().log().accepted, 0);
}

#[tokio::test]
async fn a_function_that_changes_rejections_and_panics_leaves_the_default() {
    let accepting = AcceptingUpstream::start().await;
    let proxy = ProxyServer::with([accepting.url()], |layer| {
        layer.map_rejection(|_, _| panic!("no such page"))
    })
    .await;
    let mut client = RawClient::connect(proxy.addr()).await;
    let wrong = handshake_request("/ws/a", &[("Sec-WebSocket-Version", "8")]);
    for _ in 0..2 {
        client.send(&wrong).await;
        let head = client.read_head().await;
        assert_eq!(head.status(), 426);
        client.read_body(&head).await;
    }
}

/// The handshake with the next upstream runs the edits again, within a running tunnel.
#[tokio::test]
async fn a_panic_in_a_reattachment_ends_the_tunnel_with_its_report() {
    static PANICS: AtomicBool = AtomicBool::new(false);
    // It accepts one tunnel, and leaves at the first bytes of the client.
    let upstream = RawUpstream::start(async |mut conn: RawConn| {
        if let Some(head) = conn.try_read_request_head().await {
            conn.accept_101(&head, &[]).await;
            let _ = conn.try_read_some().await;
        }
    })
    .await;
    let proxy = ProxyServer::with([upstream.url()], |layer| {
        let edits = HeaderEdits::new().with(|_: &mut HeaderMap| {
            assert!(!PANICS.load(Ordering::Relaxed), "no such header");
        });
        layer.request_headers(edits).reattach(Reattach::new())
    })
    .await;
    let mut client = RawClient::open(proxy.addr(), "/ws/a").await;
    PANICS.store(true, Ordering::Relaxed);
    client.send(&masked(text("leave"))).await;
    let close = read_frame(&mut client).await.close();
    assert_eq!(
        close.map(|(code, _)| code),
        Some(CloseCode::INTERNAL_ERROR.as_u16())
    );
    drop(client);
    let report = proxy.report().await;
    assert_eq!(
        report.reattach_refusal,
        Some(ReattachRefusal::Unavailable),
        "{report:?}"
    );
}

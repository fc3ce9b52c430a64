//! Placements of the proxy in a router: the table in the documentation of `ProxyLayer`; base paths.

use axum::{Router, routing::any};
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};
use wsplice::{Pool, ProxyLayer, head::PathRewrite, matcher::path};

use crate::support::{
    axum_upstream, deadline::within, head::Head, raw::RawClient, serve::serve_axum,
    upstream::RawUpstream,
};

fn proxy(url: &str) -> ProxyLayer {
    ProxyLayer::new(Pool::new([url]).unwrap()).matching(path("/ws/*"))
}

fn page() -> Router {
    Router::new().route("/page", any(|| async { "page" }))
}

async fn files() -> &'static str {
    "files"
}

/// Status of a handshake for this path.
async fn status(app: Router, requested: &str) -> u16 {
    let server = serve_axum(app).await;
    let mut client = RawClient::connect(server.addr()).await;
    client.handshake(requested, &[]).await.status()
}

#[tokio::test]
async fn placements_in_a_router_work_as_the_table_says() {
    let upstream = axum_upstream::start().await;
    let p = || proxy(&upstream.url());
    let other = || Router::new().route("/other", any(files));
    let placements: [(&str, Router, &str, bool); 13] = [
        (".route().layer(p)", page().layer(p()), "/ws/echo", true),
        (
            ".layer(p).route()",
            Router::new().layer(p()).route("/page", any(files)),
            "/ws/echo",
            true,
        ),
        (
            ".fallback(f).layer(p)",
            page().fallback(files).layer(p()),
            "/ws/echo",
            true,
        ),
        (
            ".layer(p).fallback(f)",
            page().layer(p()).fallback(files),
            "/ws/echo",
            false,
        ),
        (
            ".route_layer(p)",
            page().route_layer(p()),
            "/ws/echo",
            false,
        ),
        (
            ".layer(p).merge(other)",
            page().layer(p()).merge(other()),
            "/ws/echo",
            false,
        ),
        (
            ".layer(p).merge(other.fallback(f))",
            page().layer(p()).merge(other().fallback(files)),
            "/ws/echo",
            false,
        ),
        (
            ".route_service(.., p)",
            page().route_service("/ws/{*rest}", p().into_service()),
            "/ws/echo",
            true,
        ),
        (
            ".fallback_service(p)",
            page().fallback_service(p().into_service()),
            "/ws/echo",
            true,
        ),
        (
            "nest(router.layer(p))",
            page().nest("/app", page().layer(p())),
            "/app/ws/echo",
            false,
        ),
        (
            "nest(router.fallback(f).layer(p))",
            page().nest("/app", page().fallback(files).layer(p())),
            "/app/ws/echo",
            true,
        ),
        (
            "nest_service(p)",
            page().nest_service("/app", p().into_service()),
            "/app/ws/echo",
            true,
        ),
        (
            "p.layer(router)",
            Router::new().fallback_service(p().layer(page())),
            "/ws/echo",
            true,
        ),
    ];
    for (placement, app, requested, works) in placements {
        let status = status(app, requested).await;
        assert_eq!(status == 101, works, "{placement}: {status}");
    }
}

/// Head of the request that an upstream gets for a handshake with this path.
async fn upstream_head(
    app: impl FnOnce(&str) -> Router,
    requested: &str,
    extra: &[(&str, &str)],
) -> Head {
    let upstream = RawUpstream::start(|mut connection| async move {
        let head = connection.read_request_head().await;
        connection.accept_101(&head, &[]).await;
        connection.read_to_end().await;
    })
    .await;
    let server = serve_axum(app(&upstream.url())).await;
    let mut client = RawClient::connect(server.addr()).await;
    let response = client.handshake(requested, extra).await;
    assert_eq!(response.status(), 101);
    upstream.log().heads.remove(0)
}

#[tokio::test]
async fn an_upstreams_base_path_is_in_front_of_the_requests_path() {
    let strip = || PathRewrite::strip_prefix("/ws").unwrap();
    let cases: [(&str, Option<PathRewrite>, &str, &str); 6] = [
        ("", None, "/ws/a?b", "/ws/a?b"),
        ("/chat", None, "/ws/a?b", "/chat/ws/a?b"),
        ("/chat/", None, "/ws/a?b", "/chat/ws/a?b"),
        ("/chat", Some(strip()), "/ws/a?b", "/chat/a?b"),
        ("/chat", Some(strip()), "/ws", "/chat"),
        ("/chat", None, "/x/../ws/a", "/chat/ws/a"),
    ];
    for (base, rewrite, requested, expected) in cases {
        let app = |url: &str| {
            let pool = Pool::new([format!("{url}{base}")]).unwrap();
            let layer = ProxyLayer::new(pool);
            let layer = match rewrite.clone() {
                Some(rewrite) => layer.rewrite(rewrite),
                None => layer,
            };
            Router::new().fallback_service(layer.into_service())
        };
        let head = upstream_head(app, requested, &[]).await;
        assert_eq!(head.target(), expected, "{base} {requested}");
    }
}

#[tokio::test]
async fn a_path_that_may_leave_the_base_path_gets_400() {
    let upstream = axum_upstream::start().await;
    let layer = ProxyLayer::new(Pool::new([format!("{}/ws", upstream.url())]).unwrap());
    let app = Router::new().fallback_service(layer.into_service());
    assert_eq!(status(app, "/..%2fprivate").await, 400);
}

#[tokio::test]
async fn forwarded_requests_go_below_the_base_path_too() {
    let upstream =
        serve_axum(Router::new().route("/base/ws/page", any(|| async { "below" }))).await;
    let pool = Pool::new([format!("{}/base", upstream.url())]).unwrap();
    let layer = ProxyLayer::new(pool).forward_http(wsplice::ForwardHttp::new());
    let request = Request::get("/ws/page")
        .header("host", "a")
        .body(String::new())
        .unwrap();
    let response: Response<_> = within("a response", layer.into_service().oneshot(request))
        .await
        .unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "below");
}

#[cfg(feature = "axum")]
mod nested {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::filter::LevelFilter;
    use wsplice::{Observer, TunnelInfo};

    use super::*;
    use crate::{logs::capture_from, support::raw::handshake_request};

    #[tokio::test]
    async fn the_upstream_gets_the_prefix_that_nest_removed() {
        let app = |url: &str| Router::new().nest_service("/app", proxy(url).into_service());
        let forged = [("x-forwarded-prefix", "/forged")];
        let head = upstream_head(app, "/app/ws/a?b", &forged).await;
        assert_eq!(head.target(), "/ws/a?b");
        assert_eq!(head.all("x-forwarded-prefix").collect::<Vec<_>>(), ["/app"]);
    }

    #[tokio::test]
    async fn without_nest_there_is_no_prefix() {
        let app = |url: &str| page().layer(proxy(url));
        let forged = [("x-forwarded-prefix", "/forged")];
        let head = upstream_head(app, "/ws/a", &forged).await;
        assert_eq!(head.all("x-forwarded-prefix").count(), 0);
    }

    #[tokio::test]
    async fn the_original_path_is_matched_and_forwarded_where_that_is_asked_for() {
        let app = |url: &str| {
            let layer = ProxyLayer::new(Pool::new([url]).unwrap())
                .matching(path("/app/ws/*"))
                .original_uri();
            Router::new().nest_service("/app", layer.into_service())
        };
        let head = upstream_head(app, "/app/ws/a?b", &[]).await;
        assert_eq!(head.target(), "/app/ws/a?b");
        assert_eq!(head.all("x-forwarded-prefix").count(), 0);
    }

    #[tokio::test]
    async fn the_inner_service_sees_the_path_within_nest() {
        let inner = Router::new().route("/page", any(|| async { "inner" }));
        let layer = proxy("ws://127.0.0.1:9").original_uri();
        let inner = inner.fallback(files).layer(layer);
        let app = Router::new().nest("/app", inner);
        let request = Request::get("/app/page")
            .body(axum::body::Body::empty())
            .unwrap();
        let response = within("a response", app.oneshot(request)).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "inner");
    }

    /// The level `debug` alone hints at it: a matcher that compares the client's whole path.
    #[tokio::test]
    async fn a_matcher_that_expects_the_prefix_is_hinted_at() {
        let hints = async |matcher: &str, requested: &str, level| {
            let (captured, _guard) = capture_from(level);
            let layer = ProxyLayer::new(Pool::new(["ws://127.0.0.1:9"]).unwrap());
            let layer = layer.matching(path(matcher));
            let nested = Router::new().fallback(files).layer(layer);
            let request = String::from_utf8(handshake_request(requested, &[])).unwrap();
            let lines = request
                .lines()
                .skip(1)
                .filter_map(|line| line.split_once(": "));
            let request = lines.fold(Request::get(requested), |request, (name, value)| {
                request.header(name, value)
            });
            let request = request.body(axum::body::Body::empty()).unwrap();
            let app = Router::new().nest("/app", nested);
            let response = within("a response", app.oneshot(request)).await.unwrap();
            assert_eq!(response.status(), 200, "from the fallback");
            let messages = captured.messages().into_iter();
            messages
                .filter(|message| message.contains("`nest`"))
                .count()
        };
        let (debug, info) = (LevelFilter::DEBUG, LevelFilter::INFO);
        assert_eq!(hints("/app/ws/*", "/app/ws/a", debug).await, 1);
        // The hint is for a mistake, and for those who look for one.
        assert_eq!(hints("/app/ws/*", "/app/ws/a", info).await, 0);
        assert_eq!(hints("/app/ws/*", "/app/other", debug).await, 0);
        assert_eq!(hints("/other/*", "/app/ws/a", debug).await, 0);
    }

    #[derive(Debug, Default)]
    struct Paths(Mutex<Vec<String>>);

    impl Observer for Paths {
        fn tunnel_opened(&self, tunnel: &TunnelInfo) {
            self.0.lock().unwrap().push(tunnel.path.to_string());
        }
    }

    #[tokio::test]
    async fn reports_name_the_path_that_the_client_sent() {
        let paths = Arc::new(Paths::default());
        let app = |url: &str| {
            let layer = proxy(url).observer(Arc::clone(&paths));
            Router::new().nest_service("/app", layer.into_service())
        };
        upstream_head(app, "/app/ws/a", &[]).await;
        within("a tunnel", async {
            while paths.0.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(*paths.0.lock().unwrap(), ["/app/ws/a"]);
    }
}

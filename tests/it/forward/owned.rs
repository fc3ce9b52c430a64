//! Which requests are forwarded, and that no others are.

use axum::{Router, routing::any};
use http::{Request, Response};
use tower::Layer;
use wsplice::{ForwardHttp, Pool, ProxyLayer, matcher::path};

use super::kit::{answer, ask, client, inner, layer, named, proxy, read_answer};
use crate::support::{
    raw::RawClient,
    scripts,
    serve::{serve_axum, serve_hyper},
    upstream::RawUpstream,
};

#[tokio::test]
async fn what_is_not_owned_reaches_the_inner_service_as_it_came() {
    let upstream = named("one").await;
    let proxy = proxy(&[&upstream], |layer| layer).await;
    // Owned in one reading of the path and not in another, too.
    for target in [
        "/",
        "/page?q",
        "/app/..%2fprivate",
        "/app/..;/x",
        "/private/../app/x",
    ] {
        let request = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        let (_, body) = answer(&proxy, request).await;
        assert_eq!(body, format!("inner POST {target}"));
    }
    let connect = "CONNECT app.test:80 HTTP/1.1\r\nHost: app.test\r\n\r\n";
    let head = client(&proxy, connect).await.read_head().await;
    assert_eq!(head.status(), 200);
    assert_eq!(upstream.log().accepted, 0);
}

#[tokio::test]
async fn without_forward_http_nothing_is_forwarded() {
    let upstream = named("one").await;
    let pool = || Pool::new([upstream.url()]).unwrap();
    let plain = ProxyLayer::new(pool()).matching(path("/app/*"));
    let off = plain.clone().forward_http(None);
    for server in [
        serve_axum(inner().layer(plain)).await,
        serve_axum(inner().layer(off)).await,
    ] {
        let (_, body) = answer(&server, ask("GET", &[])).await;
        assert_eq!(body, "inner GET /app/x");
    }
    assert_eq!(upstream.log().accepted, 0);
}

/// The bodies of a layer that forwards nothing may be of any type.
#[test]
fn a_layer_without_forward_http_asks_nothing_of_bodies() {
    fn is_service<S: tower::Service<Request<std::rc::Rc<()>>>>(_: &S) {}
    let pool = Pool::new(["ws://127.0.0.1:9"]).unwrap();
    let service = tower::service_fn(|_: Request<std::rc::Rc<()>>| async {
        Ok::<_, std::io::Error>(Response::new(String::new()))
    });
    is_service(&ProxyLayer::new(pool).layer(service));
}

#[tokio::test]
async fn the_service_of_its_own_forwards_too() {
    let upstream = named("one").await;
    let layer = layer(Pool::new([upstream.url()]).unwrap());
    let server = serve_hyper(layer.clone().into_service()).await;
    assert_eq!(answer(&server, ask("GET", &[])).await.1, "one");
    let (head, _) = answer(&server, "GET /other HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(head.status(), 426);
    let router = Router::new()
        .route("/page", any(|| async { "page" }))
        .fallback_service(layer.into_service());
    let server = serve_axum(router).await;
    assert_eq!(answer(&server, ask("GET", &[])).await.1, "one");
}

#[tokio::test]
async fn handshakes_go_on_beside_it() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxy = proxy(&[&upstream], |layer| {
        layer.forward_http(ForwardHttp::default())
    })
    .await;
    let mut socket = RawClient::open(proxy.addr(), "/app/x").await;
    socket.send(b"\x81\x82\0\0\0\0hi").await;
    assert_eq!(&socket.read_exact(8).await[..], b"\x81\x82\0\0\0\0hi");
    let mut other = RawClient::connect(proxy.addr()).await;
    other.send(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(read_answer(&mut other).await.1, "inner GET /page");
}

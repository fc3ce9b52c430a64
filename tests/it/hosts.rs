//! The ways to put the proxy into a server.

use axum::{Router, body::Body, extract::Request, routing::any};
use hyper::body::Incoming;
use tower::{Layer, ServiceBuilder, ServiceExt, limit::GlobalConcurrencyLimitLayer, service_fn};
use wsplice::{Pool, ProxyLayer, matcher::path};

use crate::support::{
    axum_upstream,
    clients::{Client, Fast, Message, Tungstenite},
    raw::RawClient,
    serve::{Server, serve_auto, serve_axum, serve_hyper},
};

async fn proxy(upstream: &Server) -> ProxyLayer {
    ProxyLayer::new(Pool::new([upstream.url()]).unwrap()).matching(path("/ws/*"))
}

async fn echoes<C: Client>(server: &Server) {
    let mut client = C::connect(server.addr(), "/ws/echo").await;
    client.send_text("hello").await;
    assert_eq!(client.next().await, Message::Text("hello".into()));
    client.send_close(4321, "enough").await;
    assert_eq!(
        client.next().await,
        Message::Close(Some((4321, "enough".into())))
    );
}

async fn serves_both(server: &Server) {
    echoes::<Tungstenite>(server).await;
    echoes::<Fast>(server).await;
    let mut plain = RawClient::connect(server.addr()).await;
    plain.send_request("/page", &[]).await;
    let head = plain.read_head().await;
    assert_eq!(
        (head.status(), &plain.read_body(&head).await[..]),
        (200, &b"page"[..])
    );
}

#[tokio::test]
async fn a_layer_of_an_axum_router() {
    let upstream = axum_upstream::start().await;
    let app = Router::new()
        .route("/page", any(|| async { "page" }))
        .fallback(|| async { "nothing" })
        .layer(proxy(&upstream).await);
    serves_both(&serve_axum(app).await).await;
}

#[tokio::test]
async fn a_route_of_an_axum_router() {
    let upstream = axum_upstream::start().await;
    let service = ProxyLayer::new(Pool::new([upstream.url()]).unwrap()).into_service();
    let app = Router::new()
        .route("/page", any(|| async { "page" }))
        .route_service("/ws/{*rest}", service);
    serves_both(&serve_axum(app).await).await;
}

#[tokio::test]
async fn the_fallback_of_an_axum_router() {
    let upstream = axum_upstream::start().await;
    let service = proxy(&upstream).await.into_service();
    let app = Router::new()
        .route("/page", any(|| async { "page" }))
        .fallback_service(service);
    serves_both(&serve_axum(app).await).await;
}

#[tokio::test]
async fn around_a_whole_router_by_service_builder() {
    let upstream = axum_upstream::start().await;
    let router = Router::new().route("/page", any(|| async { "page" }));
    let service = ServiceBuilder::new()
        .layer(proxy(&upstream).await)
        .service(router);
    let service = service.map_request(|request: Request| request);
    serves_both(&serve_axum(Router::new().fallback_service(service)).await).await;
}

#[tokio::test]
async fn plain_hyper_without_axum() {
    let upstream = axum_upstream::start().await;
    let page = service_fn(|_| async {
        Ok::<_, std::convert::Infallible>(http::Response::new(Body::from("page")))
    });
    let service = proxy(&upstream).await.layer(page);
    serves_both(&serve_hyper(service.clone()).await).await;
    serves_both(&serve_auto(service).await).await;
}

async fn page<B>(
    _: http::Request<B>,
) -> Result<axum::response::Response, std::convert::Infallible> {
    Ok(axum::response::Response::new(Body::from("page")))
}

/// A limit inside of the proxy hands out its permit before a request is there. Hosts clone the
/// service for each request, so the permit of a request that the proxy takes is free again.
#[tokio::test]
async fn a_limit_inside_of_the_proxy_gets_its_permit_back_after_a_websocket() {
    let upstream = axum_upstream::start().await;
    let limited = || GlobalConcurrencyLimitLayer::new(1);
    let service = proxy(&upstream)
        .await
        .layer(limited().layer(service_fn(page::<Body>)));
    let axum = serve_axum(Router::new().fallback_service(service)).await;
    let service = proxy(&upstream)
        .await
        .layer(limited().layer(service_fn(page::<Incoming>)));
    let (hyper, auto) = (
        serve_hyper(service.clone()).await,
        serve_auto(service).await,
    );
    for server in [axum, hyper, auto] {
        let mut open = Vec::new();
        let mut plain = RawClient::connect(server.addr()).await;
        for _ in 0..2 {
            open.push(RawClient::open(server.addr(), "/ws/echo").await);
            plain.send_request("/page", &[]).await;
            let head = plain.read_head().await;
            assert_eq!(head.status(), 200);
            plain.read_body(&head).await;
        }
    }
}

//! Tests of the servers: each runs the same small service, and upgrades.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::{Request, Response};

use crate::support::axum_upstream;
use crate::support::clients::{Client, Message, Tungstenite};
use crate::support::raw::{HOST, RawClient};
use crate::support::serve::{Server, serve_auto, serve_axum, serve_hyper};

#[tokio::test]
async fn axum_knows_its_clients() {
    let whoami = |ConnectInfo(addr): ConnectInfo<SocketAddr>| async move { addr.ip().to_string() };
    let router = axum::Router::new().route("/", axum::routing::get(whoami));
    let server = serve_axum(router).await;
    assert_eq!(get(&server, "/").await, "127.0.0.1");
    assert_eq!(server.url(), format!("ws://{}", server.addr()));
}

#[tokio::test]
async fn plain_hyper_serves_and_upgrades() {
    let server = serve_hyper(tower::service_fn(host)).await;
    assert_eq!(get(&server, "/").await, HOST);
    upgrades(&serve_hyper(axum_upstream::router()).await).await;
}

#[tokio::test]
async fn the_auto_server_serves_and_upgrades() {
    let server = serve_auto(tower::service_fn(host)).await;
    assert_eq!(get(&server, "/").await, HOST);
    upgrades(&serve_auto(axum_upstream::router()).await).await;
}

#[tokio::test]
async fn a_dropped_server_closes_its_port() {
    let server = serve_hyper(tower::service_fn(host)).await;
    let addr = server.addr();
    let mut client = RawClient::connect(addr).await;
    client.send_request("/", &[]).await;
    let head = client.read_head().await;
    client.read_body(&head).await;
    drop(server);
    client.expect_eof().await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

async fn host(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    let host = request.headers()["host"].to_str().unwrap_or_default();
    Ok(Response::new(host.to_owned()))
}

async fn get(server: &Server, path: &str) -> String {
    let mut client = RawClient::connect(server.addr()).await;
    client.send_request(path, &[]).await;
    let head = client.read_head().await;
    assert_eq!(head.status(), 200);
    String::from_utf8_lossy(&client.read_body(&head).await).into_owned()
}

async fn upgrades(server: &Server) {
    let mut client = Tungstenite::connect(server.addr(), "/ws/echo").await;
    client.send_text("hello").await;
    assert_eq!(client.next().await, Message::Text("hello".to_owned()));
}

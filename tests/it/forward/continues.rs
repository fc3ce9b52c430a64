//! `Expect: 100-continue`, and responses that come before the end of the request.

use std::time::Duration;

use wsplice::ForwardHttp;

use super::kit::{Played, answer, ask, client, proxy, read_answer};

const EXPECT: [&str; 2] = ["Content-Length: 4", "Expect: 100-continue"];

/// A layer that waits for the upstream's 100 for longer than a test lasts.
fn patient(layer: super::kit::Layer) -> super::kit::Layer {
    layer.forward_http(ForwardHttp::new().continue_timeout(Duration::from_secs(600)))
}

#[tokio::test]
async fn the_client_is_told_to_go_on_when_the_upstream_says_so_rfc9110_10_1_1() {
    let mut app = Played::start().await;
    let proxy = proxy(&[&app.upstream], patient).await;
    let mut client = client(&proxy, ask("PUT", &EXPECT)).await;
    let (mut upstream, head) = app.request().await;
    assert_eq!(head.get("expect"), Some("100-continue"));
    upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.read_head().await.status(), 100);
    client.send(b"body").await;
    assert_eq!(&upstream.read_exact(4).await[..], b"body");
    upstream
        .send(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(client.read_head().await.status(), 201);
}

#[tokio::test]
async fn an_upstream_that_does_not_want_the_body_is_heard_before_it_is_sent() {
    let mut app = Played::start().await;
    let proxy = proxy(&[&app.upstream], patient).await;
    let mut client = client(&proxy, ask("PUT", &EXPECT)).await;
    let (mut upstream, _) = app.request().await;
    upstream
        .send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
        .await;
    // The response comes without a 100 before it.
    let (head, body) = read_answer(&mut client).await;
    assert_eq!((head.status(), &*body), (413, "big"));
    // The body is still owed: the connection is of no more use.
    assert!(upstream.try_read_some().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_upstream_that_never_says_100_gets_the_body_after_a_while() {
    let mut app = Played::start().await;
    let proxy = proxy(&[&app.upstream], |layer| {
        layer.forward_http(ForwardHttp::new().continue_timeout(Duration::from_millis(1)))
    })
    .await;
    let mut client = client(&proxy, ask("PUT", &EXPECT)).await;
    let (mut upstream, _) = app.request().await;
    assert_eq!(client.read_head().await.status(), 100);
    client.send(b"body").await;
    assert_eq!(&upstream.read_exact(4).await[..], b"body");
}

/// The client must not send a body that no upstream takes.
#[tokio::test]
async fn without_an_upstream_no_body_is_asked_for() {
    let closed = crate::support::upstream::closed_addr().await;
    let proxy = super::kit::proxy_to([format!("ws://{closed}")], patient).await;
    let (head, _) = answer(&proxy, ask("PUT", &EXPECT)).await;
    assert_eq!(head.status(), 502);
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_relayed() {
    let mut app = Played::start().await;
    let proxy = proxy(&[&app.upstream], |layer| layer).await;
    let mut client = client(&proxy, ask("POST", &["Content-Length: 1000000"])).await;
    client.send(b"the first bytes").await;
    let (mut upstream, _) = app.request().await;
    assert_eq!(&upstream.read_exact(15).await[..], b"the first bytes");
    upstream
        .send(
            b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig",
        )
        .await;
    let (head, body) = read_answer(&mut client).await;
    assert_eq!((head.status(), &*body), (413, "big"));
}

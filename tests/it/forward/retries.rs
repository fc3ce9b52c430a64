//! What is tried again, and what is not.

use wsplice::{Pool, balance::First};

use super::kit::{Played, answer, ask, client, layer, named, read_answer};
use crate::support::{
    serve::{Server, serve_axum},
    upstream::closed_addr,
};

async fn to(urls: [String; 2]) -> Server {
    let pool = Pool::new(urls).unwrap().balance(First::new());
    serve_axum(super::kit::inner().layer(layer(pool))).await
}

/// Nothing was sent: the body is still there for another.
#[tokio::test]
async fn an_upstream_that_cannot_be_reached_leaves_the_request_to_another() {
    let upstream = named("two").await;
    let server = to([format!("ws://{}", closed_addr().await), upstream.url()]).await;
    let request = ask("POST", &["Content-Length: 4"]) + "body";
    assert_eq!(answer(&server, request).await.1, "two");
    let log = upstream
        .wait_for("the body", |log| log.after_head >= 4)
        .await;
    assert_eq!(log.heads[0].method(), "POST");
}

#[tokio::test]
async fn what_was_sent_stays_where_it_is() {
    for (method, lines) in [("POST", &["Content-Length: 1"][..]), ("GET", &[][..])] {
        let mut app = Played::start().await;
        let other = named("two").await;
        let server = to([app.upstream.url(), other.url()]).await;
        let mut client = client(&server, ask(method, lines)).await;
        let (upstream, _) = app.request().await;
        drop(upstream);
        assert_eq!(read_answer(&mut client).await.0.status(), 502, "{method}");
        assert_eq!(other.log().accepted, 0);
    }
}

#[tokio::test]
async fn nobody_there_is_a_502_and_nobody_at_all_a_503() {
    let urls = [closed_addr().await, closed_addr().await].map(|addr| format!("ws://{addr}"));
    let (head, _) = answer(&to(urls).await, ask("GET", &[])).await;
    assert_eq!(head.status(), 502);
    let empty = layer(Pool::of([]));
    let server = serve_axum(super::kit::inner().layer(empty)).await;
    let (head, _) = answer(&server, ask("GET", &[])).await;
    assert_eq!(head.status(), 503);
}

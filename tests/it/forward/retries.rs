//! Retries of forwarded requests.

use wsplice::{Pool, Retry, balance::First, pool::RetryOn};

use super::kit::{Played, answer, ask, client, layer, named, read_answer};
use crate::support::{
    deadline::within,
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
    for (method, lines) in [
        ("POST", &["Content-Length: 0"][..]),
        ("PUT", &["Content-Length: 1"][..]),
    ] {
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
    let empty = layer(Pool::from_upstreams([]));
    let server = serve_axum(super::kit::inner().layer(empty)).await;
    let (head, _) = answer(&server, ask("GET", &[])).await;
    assert_eq!(head.status(), 503);
}

/// A request that may be repeated is retried, where that was asked for.
#[tokio::test]
async fn what_was_sent_goes_elsewhere_if_asked_for_and_if_it_may_be_repeated_rfc9110_9_2_2() {
    for (method, lines, goes_on) in [
        ("GET", &[][..], true),
        ("DELETE", &[][..], true),
        ("POST", &["Content-Length: 0"][..], false),
        ("PUT", &["Content-Length: 1"][..], false),
    ] {
        for (answer, status) in [
            ("", 502),
            ("HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno", 503),
        ] {
            let mut app = Played::start().await;
            let other = named("two").await;
            let pool = Pool::new([app.upstream.url(), other.url()])
                .unwrap()
                .balance(First::new())
                .build();
            let retry = Retry::new().on([RetryOn::Status(503)]);
            let layer = layer(pool.clone()).retry(retry);
            let server = serve_axum(super::kit::inner().layer(layer)).await;
            let mut client = client(&server, ask(method, lines)).await;
            let (mut upstream, _) = app.request().await;
            upstream.send(answer.as_bytes()).await;
            drop(upstream);
            let (head, body) = read_answer(&mut client).await;
            match goes_on {
                true => assert_eq!((head.status(), &*body), (200, "two"), "{method} {answer}"),
                false => assert_eq!(head.status(), status, "{method} {answer}"),
            }
            assert_eq!(other.log().accepted, usize::from(goes_on));
            assert!(pool.snapshot().iter().all(|upstream| upstream.tunnels == 0));
        }
    }
}

/// The last response counts, and is whole.
#[tokio::test]
async fn a_response_that_could_be_retried_holds_its_lease_while_it_is_relayed() {
    let mut app = Played::start().await;
    let pool = Pool::new([app.upstream.url()]).unwrap().build();
    let layer = layer(pool.clone()).retry(Retry::new().on([RetryOn::Status(503)]));
    let server = serve_axum(super::kit::inner().layer(layer)).await;
    let mut client = client(&server, ask("GET", &[])).await;
    let (mut upstream, _) = app.request().await;
    upstream
        .send(b"HTTP/1.1 503 No\r\nContent-Length: 10\r\n\r\nsorry")
        .await;
    let head = client.read_head().await;
    assert_eq!(head.status(), 503);
    assert_eq!(&client.read_exact(5).await[..], b"sorry");
    let leased = || {
        let upstream = &pool.snapshot()[0];
        (upstream.tunnels, upstream.handshakes)
    };
    assert_eq!(leased(), (1, 0));
    upstream.send(b" again").await;
    assert_eq!(&client.read_exact(5).await[..], b" agai");
    within("the end of the lease", async {
        while leased() != (0, 0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn where_nobody_is_left_the_last_answer_is_relayed() {
    let upstream = super::kit::answering(|_| {
        "HTTP/1.1 503 No\r\nContent-Length: 5\r\nX-App: 1\r\n\r\nsorry".to_owned()
    })
    .await;
    let layer =
        layer(Pool::new([upstream.url()]).unwrap()).retry(Retry::new().on([RetryOn::Status(503)]));
    let server = serve_axum(super::kit::inner().layer(layer)).await;
    for _ in 0..2 {
        let (head, body) = answer(&server, ask("GET", &[])).await;
        assert_eq!((head.status(), head.get("x-app")), (503, Some("1")));
        assert_eq!(body, "sorry");
    }
    assert_eq!(upstream.log().accepted, 1);
}

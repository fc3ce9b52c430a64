//! Bodies on their way: streamed, never gathered.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use super::kit::{Played, answering, ask, client, proxy, proxy_to, read_answer};
use crate::support::{deadline::within, rng, serve::serve_hyper};

#[tokio::test]
async fn an_answer_comes_piece_by_piece_before_its_end() {
    let mut app = Played::start().await;
    let proxy = proxy(&[&app.upstream], |layer| layer).await;
    let mut client = client(&proxy, ask("GET", &["Accept: text/event-stream"])).await;
    let (mut upstream, _) = app.request().await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    upstream.send(head.as_bytes()).await;
    let head = client.read_head().await;
    assert_eq!(head.get("content-type"), Some("text/event-stream"));
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        upstream.send(chunk.as_bytes()).await;
        assert_eq!(&client.read_chunk().await[..], event.as_bytes());
    }
    upstream.send(b"0\r\n\r\n").await;
    assert!(client.read_chunk().await.is_empty());
    assert!(client.read_trailers().await.is_empty());
}

#[tokio::test]
async fn a_request_goes_up_piece_by_piece_before_its_end() {
    let mut app = Played::start().await;
    let proxy = proxy(&[&app.upstream], |layer| layer).await;
    let mut client = client(&proxy, ask("POST", &["Transfer-Encoding: chunked"])).await;
    let (mut upstream, head) = app.request().await;
    assert_eq!(head.get("transfer-encoding"), Some("chunked"));
    for piece in ["one", "two"] {
        client.send(format!("3\r\n{piece}\r\n").as_bytes()).await;
        assert_eq!(&upstream.read_chunk().await[..], piece.as_bytes());
    }
    client.send(b"0\r\n\r\n").await;
    assert!(upstream.read_chunk().await.is_empty());
    upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(client.read_head().await.status(), 204);
}

#[tokio::test]
async fn both_directions_run_at_once() {
    let mut app = Played::start().await;
    let proxy = proxy(&[&app.upstream], |layer| layer).await;
    let mut client = client(&proxy, ask("POST", &["Transfer-Encoding: chunked"])).await;
    let (mut upstream, _) = app.request().await;
    upstream
        .send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    assert_eq!(client.read_head().await.status(), 200);
    for _ in 0..3 {
        client.send(b"4\r\nping\r\n").await;
        assert_eq!(&upstream.read_chunk().await[..], b"ping");
        upstream.send(b"4\r\npong\r\n").await;
        assert_eq!(&client.read_chunk().await[..], b"pong");
    }
}

#[tokio::test]
async fn trailers_pass_both_ways_rfc9110_6_5() {
    let mut app = Played::start().await;
    let proxy = proxy(&[&app.upstream], |layer| layer).await;
    let lines = [
        "Transfer-Encoding: chunked",
        "Trailer: X-Sum, X-Forwarded-For",
        "TE: trailers",
        "Connection: TE",
    ];
    let mut client = client(&proxy, ask("POST", &lines)).await;
    client
        .send(b"2\r\nhi\r\n0\r\nX-Sum: up\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
        .await;
    let (mut upstream, head) = app.request().await;
    assert_eq!(head.get("te"), Some("trailers"));
    assert_eq!(head.get("connection").unwrap().to_lowercase(), "te");
    assert_eq!(head.get("trailer"), Some("X-Sum, X-Forwarded-For"));
    assert_eq!(&upstream.read_chunk().await[..], b"hi");
    assert!(upstream.read_chunk().await.is_empty());
    assert_eq!(upstream.read_trailers().await, ["x-sum: up"]);

    upstream
        .send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
              2\r\nho\r\n0\r\nX-Sum: down\r\n\r\n",
        )
        .await;
    let head = client.read_head().await;
    assert_eq!(head.get("trailer"), Some("X-Sum"));
    assert_eq!(&client.read_chunk().await[..], b"ho");
    assert!(client.read_chunk().await.is_empty());
    assert_eq!(client.read_trailers().await, ["x-sum: down"]);
}

/// Without `TE: trailers` a client wants none (RFC 9110 §6.5.1), and the body is whole anyway.
#[tokio::test]
async fn trailers_that_nobody_asked_for_are_left_out() {
    let upstream = answering(|head| {
        assert_eq!(head.get("te"), None);
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         2\r\nho\r\n0\r\nX-Sum: down\r\n\r\n"
            .to_owned()
    })
    .await;
    let proxy = proxy(&[&upstream], |layer| layer).await;
    let mut client = client(&proxy, ask("GET", &[])).await;
    client.read_head().await;
    assert_eq!(&client.read_chunk().await[..], b"ho");
    assert!(client.read_chunk().await.is_empty());
    assert!(client.read_trailers().await.is_empty());
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let upstream = answering(|head| match (head.method(), head.get("x-want")) {
        ("HEAD", _) => "HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n".to_owned(),
        (_, Some("304")) => {
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 42\r\nETag: \"x\"\r\n\r\n".to_owned()
        }
        (_, Some("empty")) => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
        _ => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
    })
    .await;
    let proxy = proxy(&[&upstream], |layer| layer).await;
    // All on one connection: a body too many would be taken for the next response.
    let mut client = client(&proxy, ask("HEAD", &[])).await;
    let head = client.read_head().await;
    assert_eq!(
        (head.status(), head.get("content-length")),
        (200, Some("42"))
    );
    client.send(ask("GET", &["X-Want: 304"]).as_bytes()).await;
    let head = client.read_head().await;
    assert_eq!((head.status(), head.get("etag")), (304, Some("\"x\"")));
    client.send(ask("GET", &["X-Want: empty"]).as_bytes()).await;
    let (head, body) = read_answer(&mut client).await;
    assert_eq!((head.status(), &*body), (200, ""));
    client.send(ask("DELETE", &[]).as_bytes()).await;
    let head = client.read_head().await;
    assert_eq!((head.status(), head.get("content-length")), (204, None));
    assert!(client.ahead().is_empty());
    let log = upstream.log();
    assert_eq!((log.heads.len(), log.accepted), (4, 1));
}

/// A client of HTTP/1.0 knows no chunks: its response ends with its connection (RFC 9112 §6.3).
#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks() {
    let upstream = answering(|head| {
        assert!(head.start.ends_with("HTTP/1.1"));
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nho\r\n0\r\n\r\n".to_owned()
    })
    .await;
    let proxy = proxy(&[&upstream], |layer| layer).await;
    let mut client = client(&proxy, "GET /app/x HTTP/1.0\r\nHost: app.test\r\n\r\n").await;
    let head = client.read_head().await;
    assert_eq!(head.get("transfer-encoding"), None);
    assert_eq!(&client.read_to_end().await[..], b"ho");
}

/// An upstream of HTTP/1.0 ends its response with its connection.
#[tokio::test]
async fn an_upstream_of_http_1_0_is_understood() {
    let mut app = Played::start().await;
    let proxy = proxy(&[&app.upstream], |layer| layer).await;
    let mut client = client(&proxy, ask("GET", &[])).await;
    let (mut upstream, _) = app.request().await;
    upstream.send(b"HTTP/1.0 200 OK\r\n\r\nold").await;
    drop(upstream);
    let (head, body) = read_answer(&mut client).await;
    assert!(head.start.starts_with("HTTP/1.1 200"));
    assert_eq!(head.get("transfer-encoding"), Some("chunked"));
    assert_eq!(body, "old");
}

#[tokio::test]
async fn large_bodies_arrive_whole() {
    // An application that returns each piece of the body as it arrives.
    let echo = tower::service_fn(|request: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    let echo = serve_hyper(echo).await;
    let proxy = proxy_to([echo.url()], |layer| layer).await;
    let stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let payload = Bytes::from(rng::payload(7, 8 << 20));
    let request = Request::post("/app/x")
        .header("host", "app.test")
        .body(Full::new(payload.clone()))
        .unwrap();
    let response = within("an answer", sender.send_request(request))
        .await
        .unwrap();
    let body = within("the body", response.into_body().collect())
        .await
        .unwrap();
    assert!(body.to_bytes() == payload);
}

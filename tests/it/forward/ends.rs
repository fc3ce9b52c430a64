//! Exchanges that fail: their ends never look like proper ones.

use std::io;

use wsplice::{ForwardHttp, Pool};

use super::kit::{Played, ask, client, layer, proxy, read_answer};
use crate::support::{raw::RawClient, serve::serve_axum, wire::Wire};

/// Expects that the connection ends, in any way, and returns the bytes before that.
async fn rest(wire: &mut Wire) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        match wire.try_read_some().await {
            Ok(more) if !more.is_empty() => bytes.extend_from_slice(&more),
            Ok(_) => return bytes,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                return bytes;
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_end_cleanly() {
    for (framing, piece) in [
        ("Transfer-Encoding: chunked", "4\r\nhalf\r\n"),
        ("Content-Length: 8", "half"),
    ] {
        let mut app = Played::start().await;
        let proxy = proxy(&[&app.upstream], |layer| layer).await;
        let mut client = client(&proxy, ask("GET", &[])).await;
        let (mut upstream, _) = app.request().await;
        let answer = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{piece}");
        upstream.send(answer.as_bytes()).await;
        assert_eq!(client.read_head().await.status(), 200);
        assert_eq!(&client.read_exact(piece.len()).await[..], piece.as_bytes());
        drop(upstream);
        // Neither a last chunk nor more bytes arrive.
        assert_eq!(rest(&mut client).await, b"", "{framing}");
    }
}

#[tokio::test]
async fn an_upstream_that_breaks_before_its_answer_is_a_502() {
    let unusable = "the upstream's response cannot be used\n";
    for (answer, sentence) in [
        (
            "",
            "the upstream closed the connection without a response\n",
        ),
        ("HTTP/1.1 200", unusable),
        ("SSH-2.0-OpenSSH\r\n", unusable),
        ("HTTP/1.1 99 x\r\n\r\n", unusable),
    ] {
        let mut app = Played::start().await;
        let proxy = proxy(&[&app.upstream], |layer| layer).await;
        let mut client = client(&proxy, ask("GET", &[])).await;
        let (mut upstream, _) = app.request().await;
        upstream.send(answer.as_bytes()).await;
        drop(upstream);
        let (head, body) = read_answer(&mut client).await;
        assert_eq!((head.status(), &*body), (502, sentence), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_with_it() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
    ] {
        let mut app = Played::start().await;
        let proxy = proxy(&[&app.upstream], |layer| layer).await;
        let mut client = client(&proxy, ask("GET", &[])).await;
        let (mut upstream, _) = app.request().await;
        upstream.send(answer.as_bytes()).await;
        if !answer.is_empty() {
            client.read_head().await;
            client.read_chunk().await;
        }
        drop(client);
        assert_eq!(rest(&mut upstream).await, b"");
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_its_body_takes_its_request_with_it() {
    let mut app = Played::start().await;
    let proxy = proxy(&[&app.upstream], |layer| layer).await;
    let mut client = client(&proxy, ask("POST", &["Content-Length: 9"])).await;
    client.send(b"half").await;
    let (mut upstream, _) = app.request().await;
    assert_eq!(&upstream.read_exact(4).await[..], b"half");
    drop(client);
    // Nothing is made up to fill the length.
    assert_eq!(rest(&mut upstream).await, b"");
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_a_502() {
    let mut app = Played::start().await;
    let proxy = proxy(&[&app.upstream], |layer| layer).await;
    let lines = [
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMA",
    ];
    let mut client = client(&proxy, ask("GET", &lines)).await;
    let (mut upstream, head) = app.request().await;
    for name in ["connection", "upgrade", "http2-settings"] {
        assert_eq!(head.get(name), None);
    }
    upstream
        .send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        .await;
    assert_eq!(read_answer(&mut client).await.0.status(), 502);
    assert_eq!(rest(&mut upstream).await, b"");
}

#[tokio::test]
async fn a_drain_lets_exchanges_end_and_takes_no_new_ones() {
    let mut app = Played::start().await;
    let layer = layer(Pool::new([app.upstream.url()]).unwrap());
    let drain = layer.drain();
    let server = serve_axum(super::kit::inner().layer(layer)).await;
    let mut under_way = client(&server, ask("GET", &[])).await;
    let (mut upstream, _) = app.request().await;
    let draining = tokio::spawn(async move { drain.run().await });
    let mut late = RawClient::connect(server.addr()).await;
    loop {
        late.send(ask("GET", &["X-Late: 1"]).as_bytes()).await;
        // Until the drain has begun, requests reach the upstream, which never responds.
        let head = late.try_read_head();
        tokio::select! {
            head = head => {
                assert_eq!(head.unwrap().unwrap().status(), 503);
                break;
            }
            (conn, _) = app.request() => {
                drop(conn);
                late.read_head().await;
                late = RawClient::connect(server.addr()).await;
            }
        }
    }
    assert!(!draining.is_finished());
    upstream
        .send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        .await;
    assert_eq!(read_answer(&mut under_way).await.1, "done");
    let drained = draining.await.unwrap();
    assert_eq!(drained.aborted_requests, 0);
}

#[tokio::test]
async fn a_drain_cuts_off_what_does_not_end_by_its_deadline() {
    let mut app = Played::start().await;
    let layer = layer(Pool::new([app.upstream.url()]).unwrap())
        .forward_http(ForwardHttp::new().response_idle_timeout(None));
    let drain = layer.drain().deadline(std::time::Duration::from_millis(50));
    let server = serve_axum(super::kit::inner().layer(layer)).await;
    let mut client = client(&server, ask("GET", &[])).await;
    let (mut upstream, _) = app.request().await;
    upstream
        .send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        .await;
    client.read_head().await;
    client.read_chunk().await;
    assert_eq!(drain.run().await.aborted_requests, 1);
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(rest(&mut upstream).await, b"");
}

//! Connections to upstreams: kept, used again, and whose they are.

use std::time::Duration;

use wsplice::{ForwardHttp, Pool, Upstream, connect::ProxyProtocol};

use super::kit::{Played, answer, answering, ask, client, named, proxy, read_answer};
use crate::support::{raw::RawClient, serve::serve_axum, upstream::RawUpstream};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_is_used_again() {
    let upstream = named("one").await;
    let proxy = proxy(&[&upstream], |layer| layer).await;
    for _ in 0..5 {
        assert_eq!(answer(&proxy, ask("GET", &[])).await.1, "one");
        let post = ask("POST", &["Content-Length: 0"]);
        assert_eq!(answer(&proxy, post).await.1, "one");
    }
    let log = upstream.log();
    assert_eq!((log.accepted, log.heads.len()), (1, 10));
}

#[tokio::test]
async fn a_connection_whose_response_had_trailers_is_used_again() {
    let upstream = answering(|_| {
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"
            .to_owned()
    })
    .await;
    let proxy = proxy(&[&upstream], |layer| layer).await;
    for _ in 0..3 {
        let mut client = client(&proxy, ask("GET", &["TE: trailers"])).await;
        client.read_head().await;
        assert_eq!(client.read_chunk().await, "ok");
        assert!(client.read_chunk().await.is_empty());
        assert_eq!(client.read_trailers().await.len(), 1);
    }
    assert_eq!(upstream.log().accepted, 1);
}

/// An upstream that authenticates the connection takes whoever uses it next for the same user.
#[tokio::test]
async fn a_connection_that_saw_ntlm_serves_no_other_request() {
    let challenging = answering(|_| {
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n"
            .to_owned()
    })
    .await;
    let usual = named("one").await;
    for (upstream, lines, connections) in [
        (&challenging, &[][..], 2),
        (&usual, &["Authorization: NTLM TlRMTVNTUAAB"], 2),
        (&usual, &["Authorization: Negotiate YII="], 2),
        (&usual, &["Authorization: Bearer NTLM"], 1),
    ] {
        let proxy = proxy(&[upstream], |layer| layer).await;
        let before = upstream.log().accepted;
        answer(&proxy, ask("GET", lines)).await;
        answer(&proxy, ask("GET", &[])).await;
        let opened = upstream.log().accepted - before;
        assert_eq!(opened, connections, "{lines:?}");
    }
}

#[tokio::test]
async fn two_requests_at_once_have_a_connection_each_and_both_are_kept() {
    let mut app = Played::start().await;
    let proxy = proxy(&[&app.upstream], |layer| layer).await;
    let mut clients = Vec::new();
    let mut upstreams = Vec::new();
    for _ in 0..2 {
        clients.push(client(&proxy, ask("GET", &[])).await);
        upstreams.push(app.request().await.0);
    }
    for (client, upstream) in clients.iter_mut().zip(&mut upstreams) {
        upstream.send(OK).await;
        read_answer(client).await;
    }
    // The connection that was used last is the freshest.
    clients[0].send(ask("GET", &["X-Turn: 2"]).as_bytes()).await;
    let head = upstreams[1].read_request_head().await;
    assert_eq!(head.get("x-turn"), Some("2"));
    assert_eq!(app.upstream.log().accepted, 2);
}

#[tokio::test]
async fn no_connection_is_used_again_that_the_upstream_closes_or_that_may_not_be_kept() {
    let closing = answering(|_| {
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned()
    })
    .await;
    let soon = answering(|_| {
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n".to_owned()
    })
    .await;
    let usual = named("one").await;
    for (upstream, how) in [
        (&closing, ForwardHttp::new()),
        (&soon, ForwardHttp::new()),
        (&usual, ForwardHttp::new().idle_connections(0)),
        (
            &usual,
            ForwardHttp::new().idle_connection_timeout(Duration::ZERO),
        ),
    ] {
        let before = upstream.log().accepted;
        let proxy = proxy(&[upstream], |layer| layer.forward_http(how)).await;
        for _ in 0..3 {
            assert_eq!(answer(&proxy, ask("GET", &[])).await.0.status(), 200);
        }
        assert_eq!(upstream.log().accepted, before + 3);
    }
}

#[tokio::test]
async fn a_connection_that_waits_too_long_is_closed() {
    let mut app = Played::start().await;
    let how = ForwardHttp::new().idle_connection_timeout(Duration::from_millis(20));
    let proxy = proxy(&[&app.upstream], |layer| layer.forward_http(how)).await;
    let mut client = client(&proxy, ask("GET", &[])).await;
    let (mut upstream, _) = app.request().await;
    upstream.send(OK).await;
    read_answer(&mut client).await;
    upstream.expect_eof().await;
}

/// The upstream's close was there before the request: nothing is lost, whatever the method.
#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_noticed() {
    let mut app = Played::start().await;
    let proxy = proxy(&[&app.upstream], |layer| layer).await;
    let mut client = client(&proxy, ask("GET", &[])).await;
    let (mut upstream, _) = app.request().await;
    upstream.send(OK).await;
    read_answer(&mut client).await;
    upstream.fin().await;
    upstream.expect_eof().await;
    client
        .send(ask("POST", &["Content-Length: 4"]).as_bytes())
        .await;
    client.send(b"body").await;
    let (mut upstream, head) = app.request().await;
    assert_eq!(head.method(), "POST");
    assert_eq!(&upstream.read_exact(4).await[..], b"body");
}

/// The upstream closes when the request is there already.
#[tokio::test]
async fn a_request_that_meets_the_upstream_s_close_is_repeated_if_it_may_be_rfc9112_9_3_1() {
    for (method, lines, repeats) in [
        ("GET", &[][..], true),
        ("DELETE", &[][..], true),
        ("POST", &["Content-Length: 0"][..], false),
        ("PUT", &["Content-Length: 1"][..], false),
    ] {
        let mut app = Played::start().await;
        let proxy = proxy(&[&app.upstream], |layer| layer).await;
        let mut client = client(&proxy, ask("GET", &[])).await;
        let (mut upstream, _) = app.request().await;
        upstream.send(OK).await;
        read_answer(&mut client).await;

        client.send(ask(method, lines).as_bytes()).await;
        if method == "PUT" {
            client.send(b"x").await;
        }
        upstream.read_request_head().await;
        drop(upstream);
        if repeats {
            let (mut upstream, head) = app.request().await;
            assert_eq!(head.method(), method);
            upstream.send(OK).await;
            assert_eq!(read_answer(&mut client).await.1, "ok");
        } else {
            assert_eq!(read_answer(&mut client).await.0.status(), 502, "{method}");
            assert_eq!(app.upstream.log().accepted, 1);
        }
    }
}

#[tokio::test]
async fn a_delete_is_not_sent_twice_when_the_upstream_has_responded_with_something_unusable() {
    for response in [
        "garbage\r\n\r\n",
        "HTTP/1.1 2",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    ] {
        let mut app = Played::start().await;
        let proxy = proxy(&[&app.upstream], |layer| layer).await;
        let mut client = client(&proxy, ask("GET", &[])).await;
        let (mut upstream, _) = app.request().await;
        upstream.send(OK).await;
        read_answer(&mut client).await;

        client.send(ask("DELETE", &[]).as_bytes()).await;
        upstream.read_request_head().await;
        upstream.send(response.as_bytes()).await;
        drop(upstream);
        let status = read_answer(&mut client).await.0.status();
        assert_eq!(status, 502, "{response}");
        assert_eq!(app.upstream.log().accepted, 1, "{response}");
    }
}

#[tokio::test]
async fn bytes_behind_an_answer_end_the_connection() {
    let mut app = Played::start().await;
    let proxy = proxy(&[&app.upstream], |layer| layer).await;
    let mut first = client(&proxy, ask("GET", &[])).await;
    let (mut upstream, _) = app.request().await;
    let forged = [OK, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"].concat();
    upstream.send(&forged).await;
    assert_eq!(read_answer(&mut first).await.1, "ok");
    let mut second = client(&proxy, ask("GET", &[])).await;
    let (mut upstream, _) = app.request().await;
    upstream.send(OK).await;
    assert_eq!(read_answer(&mut second).await.1, "ok");
}

#[tokio::test]
async fn upstreams_and_layers_share_no_connections() {
    let (one, two) = (named("one").await, named("two").await);
    let layer = super::kit::layer(Pool::new([one.url()]).unwrap());
    let other = layer.clone().map_rejection(|_, response| response);
    let pool = |upstream: &RawUpstream| Pool::new([upstream.url()]).unwrap();
    let to_two = super::kit::layer(pool(&two));
    for layer in [layer, other, to_two] {
        let server = serve_axum(super::kit::inner().layer(layer)).await;
        for _ in 0..2 {
            answer(&server, ask("GET", &[])).await;
        }
    }
    assert_eq!((one.log().accepted, two.log().accepted), (2, 1));
}

#[cfg(unix)]
#[tokio::test]
async fn an_upstream_may_be_a_unix_socket() {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixListener,
    };

    let path = std::env::temp_dir().join(format!("wsplice-forward-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let url = format!("unix:{}", path.display());
    let proxy = super::kit::proxy_to([url], |layer| layer).await;
    let upstream = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            stream.write_all(OK).await.unwrap();
        }
    };
    let client = async {
        let mut client = RawClient::connect(proxy.addr()).await;
        for _ in 0..2 {
            client.send(ask("GET", &[]).as_bytes()).await;
            assert_eq!(read_answer(&mut client).await.1, "ok");
        }
    };
    tokio::join!(upstream, client);
    std::fs::remove_file(&path).unwrap();
}

/// Else one client would speak under the address of another.
#[tokio::test]
async fn a_connection_that_begins_with_the_proxy_protocol_is_its_client_s_alone() {
    let mut app = Played::start().await;
    let upstream = Upstream::new(&app.upstream.url())
        .unwrap()
        .send_proxy_protocol(ProxyProtocol::V1);
    let layer = super::kit::layer(Pool::from_upstreams([upstream]));
    let server = serve_axum(super::kit::inner().layer(layer)).await;
    let mut lines = Vec::new();
    for _ in 0..2 {
        let mut client = client(&server, ask("GET", &[])).await;
        let mut upstream = app.accept().await;
        lines.push(upstream.read_line().await);
        upstream.read_request_head().await;
        upstream.send(OK).await;
        assert_eq!(read_answer(&mut client).await.1, "ok");
        upstream.expect_eof().await;
    }
    assert!(lines[0].starts_with("PROXY TCP4 127.0.0.1 "), "{lines:?}");
    assert_ne!(lines[0], lines[1]);
}

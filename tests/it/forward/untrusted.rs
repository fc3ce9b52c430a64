//! Requests that are made to be understood in two ways.

use wsplice::matcher::origin;

use super::kit::{answer, ask, client, named, proxy, read_answer};

/// RFC 9112 §6.3, item 3: chunks go before a length, and no second request hides behind it.
#[tokio::test]
async fn a_length_beside_chunks_is_not_passed_on() {
    let upstream = named("one").await;
    let proxy = proxy(&[&upstream], |layer| layer).await;
    for lines in [
        ["Content-Length: 4", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 4"],
    ] {
        let mut client = client(&proxy, ask("POST", &lines)).await;
        client
            .send(b"0\r\n\r\nGET /app/hidden HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        assert_eq!(read_answer(&mut client).await.0.status(), 200);
        let up = upstream
            .log()
            .heads
            .into_iter()
            .rfind(|head| head.method() == "POST")
            .unwrap();
        assert_eq!(up.get("content-length"), None);
        assert_eq!(up.get("transfer-encoding"), Some("chunked"));
    }
}

#[tokio::test]
async fn what_has_no_one_meaning_reaches_no_upstream() {
    let upstream = named("one").await;
    let proxy = proxy(&[&upstream], |layer| layer).await;
    for request in [
        "GET /app/x HTTP/1.1\r\n\r\n",
        "GET /app/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET http://a/app/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET http://a/app/x HTTP/1.1\r\n\r\n",
        "GET /app/x HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /app/x HTTP/1.1\r\nHost: a b, c\r\n\r\n",
        "GET /app/x HTTP/1.1\r\nHost: a/../b?x\r\n\r\n",
        "GET /app/x HTTP/1.1\r\nHost: good@evil\r\n\r\n",
        "GET /app/x HTTP/1.0\r\nHost: admin.internal:99999\r\n\r\n",
        "POST /app/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "POST /app/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, x\r\n\r\n",
    ] {
        let (head, _) = answer(&proxy, request).await;
        assert_eq!(head.status(), 400, "{request}");
    }
    assert_eq!(upstream.log().accepted, 0);
}

#[tokio::test]
async fn what_asks_for_a_websocket_is_a_handshake_or_nothing() {
    let upstream = named("one").await;
    let proxy = proxy(&[&upstream], |layer| layer).await;
    for (method, lines, status) in [
        (
            "POST",
            &["Connection: Upgrade", "Upgrade: websocket"][..],
            405,
        ),
        ("GET", &["Upgrade: websocket"][..], 400),
        (
            "GET",
            &["Connection: Upgrade", "Upgrade: h2c, WebSocket"][..],
            426,
        ),
    ] {
        let (head, _) = answer(&proxy, ask(method, lines)).await;
        assert_eq!(head.status(), status, "{method} {lines:?}");
    }
    assert_eq!(upstream.log().accepted, 0);
}

/// Else a page that may open no socket would do the same by polling.
#[tokio::test]
async fn origins_that_may_not_shake_hands_may_not_poll() {
    let upstream = named("one").await;
    let origins = origin(["https://good.test"]).unwrap();
    let proxy = proxy(&[&upstream], |layer| layer.allow_origins(origins)).await;
    for (lines, status) in [
        (&["Origin: https://evil.test"][..], 403),
        (&["Origin: https://good.test"][..], 200),
        (&[][..], 200),
    ] {
        let (head, _) = answer(&proxy, ask("GET", lines)).await;
        assert_eq!(head.status(), status, "{lines:?}");
    }
}

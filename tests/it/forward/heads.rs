//! Heads of forwarded requests and of their responses.

use wsplice::{
    ForwardHttp, Pool,
    head::PathRewrite,
    headers::{HeaderEdits, UpstreamHeaders, Via},
};

use super::kit::{answer, answering, ask, inner, layer, named, proxy};
use crate::support::{
    head::Head,
    serve::{Server, serve_axum},
    upstream::RawUpstream,
};

async fn forwarded_head(upstream: &RawUpstream, proxy: &Server, request: impl AsRef<[u8]>) -> Head {
    let (head, _) = answer(proxy, request).await;
    assert_eq!(head.status(), 200);
    upstream.log().heads.pop().unwrap()
}

#[tokio::test]
async fn what_is_for_one_hop_stays_there_rfc9110_7_6_1() {
    let upstream = answering(|_| {
        "HTTP/1.1 200 OK\r\nConnection: X-Down, keep-alive\r\nX-Down: 1\r\nKeep-Alive: timeout=9\r\n\
         Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nAlt-Svc: h3\r\nX-End: 2\r\n\
         Content-Length: 0\r\n\r\n"
            .to_owned()
    })
    .await;
    let proxy = proxy(&[&upstream], |layer| layer).await;
    let lines = [
        "Connection: X-Up, keep-alive, X-Forwarded-For",
        "X-Up: 1",
        "Keep-Alive: 5",
        "TE: gzip",
        "Upgrade: h2c",
        "Proxy-Authorization: Basic eA==",
        "X-End: 2",
    ];
    let (down, _) = answer(&proxy, ask("GET", &lines)).await;
    let up = upstream.log().heads.remove(0);
    for name in [
        "connection",
        "x-up",
        "keep-alive",
        "te",
        "upgrade",
        "proxy-authorization",
        "x-down",
        "proxy-authenticate",
        "alt-svc",
    ] {
        assert_eq!((up.get(name), down.get(name)), (None, None), "{name}");
    }
    assert_eq!((up.get("x-end"), down.get("x-end")), (Some("2"), Some("2")));
    assert_eq!(up.get("x-forwarded-for"), Some("127.0.0.1"));
}

#[tokio::test]
async fn settings_for_handshakes_go_for_requests_too() {
    let upstream = named("one").await;
    let proxy = proxy(&[&upstream], |layer| {
        layer
            .via(Via::new("edge").unwrap())
            .host("inside".parse().unwrap())
            .rewrite(PathRewrite::strip_prefix("/app").unwrap())
            .request_headers(HeaderEdits::new().set("x-up", "1").unwrap())
            .response_headers(
                HeaderEdits::new()
                    .set("x-down", "1")
                    .unwrap()
                    .set("content-length", "99")
                    .unwrap(),
            )
    })
    .await;
    let request = "GET /app/x?y=%2e HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
    let (down, body) = answer(&proxy, request).await;
    let up = upstream.log().heads.remove(0);
    assert_eq!(up.start, "GET /x?y=%2e HTTP/1.1");
    for (name, value) in [
        ("host", "inside"),
        ("via", "1.1 edge"),
        ("x-up", "1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "app.test"),
    ] {
        assert_eq!(up.all(name).collect::<Vec<_>>(), [value], "{name}");
    }
    assert_eq!(
        (down.get("via"), down.get("x-down")),
        (Some("1.1 edge"), Some("1"))
    );
    assert_eq!((down.get("content-length"), &*body), (Some("3"), "one"));
}

#[tokio::test]
async fn the_headers_of_the_host_reach_upstreams_of_forwarded_requests() {
    let upstream = named("one").await;
    let mut given = UpstreamHeaders::new();
    given.insert("x-user-id".parse().unwrap(), "alice".parse().unwrap());
    let layer =
        layer(Pool::new([upstream.url()]).unwrap()).protect_headers(["x-team".parse().unwrap()]);
    let proxy = serve_axum(inner().layer(layer).layer(axum::Extension(given))).await;
    let lines = "Connection: x-user-id\r\nX-User-Id: mallory\r\nTransfer_Encoding: chunked\r\n";
    let request = format!("GET /app/x HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let up = forwarded_head(&upstream, &proxy, &request).await;
    assert_eq!(up.all("x-user-id").collect::<Vec<_>>(), ["alice"]);
    assert_eq!(up.get("transfer_encoding"), None);

    let request = "GET /app/x HTTP/1.1\r\nHost: a\r\nConnection: x-team\r\nX-Team: a\r\n\r\n";
    let (head, body) = answer(&proxy, request).await;
    assert_eq!(head.status(), 400);
    assert!(body.contains("x-team"));
    assert_eq!(upstream.log().heads.len(), 1);
}

#[tokio::test]
async fn a_target_that_names_a_host_goes_before_the_header_rfc9112_3_2_2() {
    let upstream = named("one").await;
    let proxy = proxy(&[&upstream], |layer| layer).await;
    let request = "GET http://me:pw@real.test:81/app/x?q HTTP/1.1\r\nHost: other.test\r\n\r\n";
    let up = forwarded_head(&upstream, &proxy, request).await;
    assert_eq!(up.start, "GET /app/x?q HTTP/1.1");
    assert_eq!(up.all("host").collect::<Vec<_>>(), ["real.test:81"]);
    assert_eq!(up.get("x-forwarded-host"), Some("real.test:81"));
}

#[tokio::test]
async fn every_method_passes_and_the_path_is_as_it_came() {
    let upstream = named("one").await;
    let proxy = proxy(&[&upstream], |layer| layer).await;
    for method in ["GET", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        let request = format!("{method} /app//%41?a=%2F HTTP/1.1\r\nHost: a\r\n\r\n");
        let up = forwarded_head(&upstream, &proxy, request).await;
        assert_eq!(up.start, format!("{method} /app//%41?a=%2F HTTP/1.1"));
    }
}

#[tokio::test]
async fn trace_is_not_reflected_unless_allowed_rfc9110_9_3_8() {
    let upstream = named("one").await;
    let layer = |how: ForwardHttp| |layer: super::kit::Layer| layer.forward_http(how);
    let usual = proxy(&[&upstream], layer(ForwardHttp::new())).await;
    let (head, body) = answer(&usual, ask("TRACE", &["Cookie: a=1"])).await;
    assert_eq!(head.status(), 405);
    assert!(
        head.get("allow")
            .is_some_and(|allow| !allow.contains("TRACE"))
    );
    assert!(!body.contains("a=1"));
    assert_eq!(upstream.log().accepted, 0);
    let allowing = proxy(&[&upstream], layer(ForwardHttp::new().allow_trace())).await;
    let up = forwarded_head(&upstream, &allowing, ask("TRACE", &[])).await;
    assert_eq!(up.method(), "TRACE");
}

#[tokio::test]
async fn the_last_hop_of_options_and_trace_is_here_rfc9110_7_6_2() {
    let upstream = named("one").await;
    let proxy = proxy(&[&upstream], |layer| layer).await;
    let (head, body) = answer(&proxy, ask("OPTIONS", &["Max-Forwards: 0"])).await;
    assert_eq!((head.status(), &*body), (200, ""));
    let tracing = self::proxy(&[&upstream], |layer| {
        layer.forward_http(ForwardHttp::new().allow_trace())
    })
    .await;
    let (head, body) = answer(&tracing, ask("TRACE", &["Max-Forwards: 0", "Cookie: a=1"])).await;
    assert_eq!(head.status(), 501);
    assert!(!body.contains("a=1"));
    assert_eq!(upstream.log().accepted, 0);
    let up = forwarded_head(&upstream, &proxy, ask("OPTIONS", &["Max-Forwards: 3"])).await;
    assert_eq!(up.get("max-forwards"), Some("2"));
}

#[tokio::test]
async fn a_426_names_the_protocol_again_rfc9110_15_5_22() {
    let upstream = answering(|_| {
        "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Content-Length: 0\r\n\r\n"
            .to_owned()
    })
    .await;
    let proxy = proxy(&[&upstream], |layer| layer).await;
    let (head, _) = answer(&proxy, ask("GET", &[])).await;
    assert_eq!(
        (head.status(), head.get("upgrade")),
        (426, Some("websocket"))
    );
}

//! WebSockets to upstreams over HTTP/2 (RFC 8441): one stream, from the handshake to the end.

use std::{io, time::Duration};

use axum::{Extension, Router, routing::any};
use h2::Reason;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use tungstenite::Message;
use wsplice::{
    KeepAlive, Pool, ProxyLayer, Upstream,
    connect::{HttpVersion, ProxyProtocol},
    headers::UpstreamHeaders,
    health::probe::{HttpProbe, ProbeSchedule, WebSocketProbe},
    tunnel::{Side, TunnelEnd},
};

use crate::{
    http2::{Connection, connect, send, text},
    support::{
        axum_upstream,
        deadline::within,
        frames::{self, masked, read_frame, unmasked},
        h2_upstream::{H2Upstream, ReceivedRequest, StreamEnd},
        head::Head,
        raw::{ACCEPT, RawClient},
        rng, scripts,
        serve::{Server, serve_axum},
        tunnels::ProxyServer,
        upstream::RawUpstream,
    },
};

/// A proxy to this upstream.
async fn proxy(upstream: &H2Upstream) -> ProxyServer {
    ProxyServer::over(Pool::from_upstreams([upstream.upstream()]), |layer| layer).await
}

/// The same server, to be spoken to in HTTP/2.
fn over_http2(server: &Server) -> Upstream {
    let upstream = Upstream::new(&server.url()).unwrap();
    upstream.http_version(HttpVersion::Http2)
}

/// The response that a client of HTTP/1.1 gets from an upstream with this response.
async fn answered(
    upstream: &mut H2Upstream,
    proxy: &ProxyServer,
    extra: &[(&str, &str)],
    answer: impl FnOnce(ReceivedRequest),
) -> (RawClient, Head) {
    let mut client = RawClient::connect(proxy.addr()).await;
    let answering = async { answer(upstream.next().await) };
    let (head, ()) = tokio::join!(client.handshake("/ws/a?b=c", extra), answering);
    (client, head)
}

/// A client of HTTP/1.1 with a tunnel to this upstream.
async fn tunnel(upstream: &mut H2Upstream, proxy: &ProxyServer) -> (RawClient, StreamEnd) {
    let mut end = None;
    let (client, head) =
        answered(upstream, proxy, &[], |asked| end = Some(asked.accept(&[]))).await;
    assert_eq!(head.status(), 101);
    (client, end.unwrap())
}

#[tokio::test]
async fn an_http1_handshake_becomes_an_extended_connect_rfc8441_5() {
    let mut upstream = H2Upstream::start().await;
    let proxy = proxy(&upstream).await;
    let extra = [("cookie", "a=1"), ("te", "trailers")];
    let (_client, head) = answered(&mut upstream, &proxy, &extra, |asked| {
        let request = &asked.request;
        assert_eq!(request.method(), Method::CONNECT);
        assert_eq!(request.uri(), "http://app.test/ws/a?b=c");
        let protocol = request.extensions().get::<h2::ext::Protocol>().unwrap();
        assert_eq!(protocol.as_str(), "websocket");
        let headers = request.headers();
        assert_eq!(headers["sec-websocket-version"], "13");
        assert_eq!(headers["cookie"], "a=1");
        assert_eq!(headers["x-forwarded-host"], "app.test");
        for gone in ["sec-websocket-key", "connection", "upgrade", "host", "te"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        drop(asked.accept(&[
            ("x-app", "1"),
            ("sec-websocket-accept", "none of its business"),
        ]));
    })
    .await;
    // The proof that the upstream has no key for.
    assert_eq!(head.status(), 101);
    let proofs: Vec<_> = head.all("sec-websocket-accept").collect();
    assert_eq!(proofs, [ACCEPT]);
    assert_eq!(head.get("upgrade"), Some("websocket"));
    assert_eq!(head.get("x-app"), Some("1"));
}

#[tokio::test]
async fn a_client_of_either_version_talks_to_a_real_application() {
    let upstream = axum_upstream::start().await;
    let proxy =
        ProxyServer::over(Pool::from_upstreams([over_http2(&upstream)]), |layer| layer).await;
    let mut client = RawClient::open(proxy.addr(), "/ws/echo").await;
    let payload = rng::payload(1, 1 << 20);
    let question = masked(frames::binary(&payload));
    let answer = unmasked(frames::binary(&payload));
    assert!(client.exchange(&question, answer.len()).await == answer);

    let mut connection = Connection::open(proxy.addr()).await;
    let mut socket = connection.websocket("/ws/echo").await;
    send(&mut socket, Message::text("h2 all the way")).await;
    assert_eq!(text(&mut socket).await, Message::text("h2 all the way"));
    send(&mut socket, Message::binary(payload.clone())).await;
    assert!(text(&mut socket).await == Message::binary(payload));
    assert_eq!(proxy.registry().count(), 2);
}

#[tokio::test]
async fn what_is_agreed_on_is_passed_down() {
    let mut upstream = H2Upstream::start().await;
    let proxy = proxy(&upstream).await;
    let offer = [
        ("sec-websocket-protocol", "chat, superchat"),
        (
            "sec-websocket-extensions",
            "permessage-deflate; client_max_window_bits",
        ),
    ];
    let (mut client, head) = answered(&mut upstream, &proxy, &offer, |asked| {
        assert_eq!(
            asked.request.headers()["sec-websocket-protocol"],
            "chat, superchat"
        );
        let mut end = asked.accept(&[
            ("sec-websocket-protocol", "superchat"),
            ("sec-websocket-extensions", "permessage-deflate"),
        ]);
        tokio::spawn(async move {
            // RSV1, as the extension uses it.
            end.send(&unmasked(frames::odd(0xC1, b"deflated"))).await;
            end.expect_end().await;
        });
    })
    .await;
    assert_eq!(head.get("sec-websocket-protocol"), Some("superchat"));
    assert_eq!(
        head.get("sec-websocket-extensions"),
        Some("permessage-deflate")
    );
    assert_eq!(read_frame(&mut client).await.payload, b"deflated");
    let events = proxy.events();
    assert_eq!(events.opened[0].subprotocol.as_deref(), Some("superchat"));
}

#[tokio::test]
async fn what_was_not_offered_is_not_agreed_on_rfc6455_4_1() {
    let mut upstream = H2Upstream::start().await;
    let proxy = proxy(&upstream).await;
    for header in [
        ("sec-websocket-protocol", "chat"),
        ("sec-websocket-extensions", "permessage-deflate"),
    ] {
        let mut end = None;
        let (_, head) = answered(&mut upstream, &proxy, &[], |asked| {
            end = Some(asked.accept(&[header]));
        })
        .await;
        assert_eq!(head.status(), 502);
        assert_eq!(end.unwrap().expect_reset().await, Reason::CANCEL);
    }
    assert_eq!(upstream.log().accepted, 1, "the connection goes on");
}

#[tokio::test]
async fn a_refusal_is_relayed_with_its_body_and_the_connection_goes_on() {
    let mut upstream = H2Upstream::start().await;
    let proxy = proxy(&upstream).await;
    let (mut client, head) = answered(&mut upstream, &proxy, &[], |asked| {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        asked.refuse(401, "who are you?", Some(trailers));
    })
    .await;
    assert_eq!(head.status(), 401);
    assert_eq!(head.get("x-why"), Some("because"));
    assert_eq!(&client.read_body(&head).await[..], b"who are you?");

    let mut connection = Connection::open(proxy.addr()).await;
    let (response, ()) = tokio::join!(connection.request(connect("/ws/x", "websocket")), async {
        upstream.next().await.refuse(404, "nothing", None);
    });
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "nothing");
    tunnel(&mut upstream, &proxy).await;
    assert_eq!(upstream.log().accepted, 1);
}

#[tokio::test]
async fn an_upstream_without_extended_connect_has_an_error_of_its_own() {
    let plain = H2Upstream::with(h2::server::Builder::new()).await;
    let http1 = RawUpstream::start(|mut conn| async move {
        // The preface of HTTP/2 looks like a request head.
        let _ = conn.try_read_request_head().await;
        let _ = conn
            .try_send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            .await;
    })
    .await;
    let http1 = Upstream::new(&http1.url())
        .unwrap()
        .http_version(HttpVersion::Http2);
    for upstream in [plain.upstream(), http1] {
        let proxy = ProxyServer::over(Pool::from_upstreams([upstream]), |layer| layer).await;
        let mut client = RawClient::connect(proxy.addr()).await;
        let head = client.handshake("/ws/x", &[]).await;
        assert_eq!(head.status(), 502);
        let line = client.read_body(&head).await;
        assert_eq!(
            &line[..],
            b"the upstream does not support WebSockets over HTTP/2\n"
        );
    }
}

#[tokio::test]
async fn a_silent_upstream_is_given_up_in_time() {
    let silent = RawUpstream::start(scripts::silence()).await;
    let upstream = Upstream::new(&silent.url())
        .unwrap()
        .http_version(HttpVersion::Http2);
    let proxy = ProxyServer::over(Pool::from_upstreams([upstream]), |layer| {
        layer.connect_timeout(Duration::from_millis(50))
    })
    .await;
    let mut client = RawClient::connect(proxy.addr()).await;
    assert_eq!(client.handshake("/ws/x", &[]).await.status(), 504);
}

#[tokio::test]
async fn without_tls_auto_is_http1() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let auto = Upstream::new(&upstream.url())
        .unwrap()
        .http_version(HttpVersion::Auto);
    let proxy = ProxyServer::over(Pool::from_upstreams([auto]), |layer| layer).await;
    RawClient::open(proxy.addr(), "/ws/x").await;
    assert_eq!(upstream.log().heads[0].method(), "GET");
}

#[tokio::test]
async fn an_end_of_the_client_is_passed_on_and_the_upstream_may_finish() {
    let mut upstream = H2Upstream::start().await;
    let proxy = proxy(&upstream).await;
    let (mut client, mut end) = tunnel(&mut upstream, &proxy).await;
    let last = masked(frames::close(1000, "bye"));
    client.send(&last).await;
    client.fin().await;
    assert_eq!(end.read_exact(last.len()).await, last);
    end.expect_end().await;
    let answer = unmasked(frames::close(1000, "bye"));
    end.send(&answer).await;
    end.finish();
    assert_eq!(client.read_exact(answer.len()).await, answer);
    client.expect_eof().await;
    let report = proxy.report().await;
    assert!(matches!(report.end, TunnelEnd::Closed), "{report:?}");
}

#[tokio::test]
async fn an_end_of_the_upstream_is_passed_on_and_the_client_may_finish() {
    let mut upstream = H2Upstream::start().await;
    let proxy = proxy(&upstream).await;
    let (mut client, mut end) = tunnel(&mut upstream, &proxy).await;
    let last = unmasked(frames::close(1000, "bye"));
    end.send(&last).await;
    end.finish();
    assert_eq!(client.read_exact(last.len()).await, last);
    client.expect_eof().await;
    let answer = masked(frames::close(1000, "bye"));
    client.send(&answer).await;
    client.fin().await;
    assert_eq!(end.read_exact(answer.len()).await, answer);
    end.expect_end().await;
    let report = proxy.report().await;
    assert!(matches!(report.end, TunnelEnd::Closed), "{report:?}");
}

#[tokio::test]
async fn a_reset_of_the_client_resets_the_stream_alone() {
    let mut upstream = H2Upstream::start().await;
    let proxy = proxy(&upstream).await;
    let (client, mut end) = tunnel(&mut upstream, &proxy).await;
    let (mut other, mut other_end) = tunnel(&mut upstream, &proxy).await;
    client.reset();
    assert_eq!(end.expect_reset().await, Reason::CANCEL);
    other.send(b"\x81\x80\0\0\0\0").await;
    other_end.read_exact(6).await;
    assert_eq!(upstream.log().accepted, 1);
}

#[tokio::test]
async fn a_reset_of_the_stream_is_a_lost_upstream() {
    for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::NO_ERROR] {
        let mut upstream = H2Upstream::start().await;
        let proxy = proxy(&upstream).await;
        let (mut client, mut end) = tunnel(&mut upstream, &proxy).await;
        end.sending.send_reset(reason);
        let (code, _) = read_frame(&mut client).await.close().unwrap();
        assert_eq!(code, 1011);
        drop(client);
        let report = proxy.report().await;
        let reset = io::ErrorKind::ConnectionReset;
        assert_eq!(report.end, TunnelEnd::Broken(Side::Upstream, reset));
        assert_eq!(report.initiator, Side::Upstream);
    }
}

#[tokio::test]
async fn quiet_legs_are_pinged_between_the_frames_of_a_stream() {
    let mut upstream = H2Upstream::start().await;
    let often = KeepAlive::default().interval(Duration::from_millis(20));
    let proxy = ProxyServer::over(Pool::from_upstreams([upstream.upstream()]), |layer| {
        layer.keep_alive(often)
    })
    .await;
    let (mut client, mut end) = tunnel(&mut upstream, &proxy).await;
    // A ping may come before the message and behind it, but not between its halves.
    let message = unmasked(frames::text("two halves"));
    end.send(&message[..5]).await;
    let ping = end.read_exact(6 + 8).await;
    end.send(&message[5..]).await;
    let mut opcodes = [false; 16];
    while !(opcodes[1] && opcodes[9]) {
        let frame = read_frame(&mut client).await;
        opcodes[usize::from(frame.opcode())] = true;
        assert!(frame.opcode() != 1 || frame.payload == b"two halves");
    }
    // Masked, as a client's frames are.
    assert_eq!((ping[0], ping[1] & 0x80), (0x89, 0x80));
}

#[tokio::test]
async fn a_drain_closes_streams_with_a_code() {
    let mut upstream = H2Upstream::start().await;
    let proxy = proxy(&upstream).await;
    let (mut client, mut end) = tunnel(&mut upstream, &proxy).await;
    let drain = proxy.drain();
    let (drained, ()) = tokio::join!(drain.run(), async {
        let (code, _) = read_frame(&mut client).await.close().unwrap();
        assert_eq!(code, 1001);
        let close = end.read_exact(2).await;
        assert_eq!(close[0], 0x88);
        end.send(&unmasked(frames::close(1001, ""))).await;
        end.finish();
        client.send(&masked(frames::close(1001, ""))).await;
        client.fin().await;
    });
    assert_eq!((drained.closed, drained.aborted), (1, 0));
}

#[tokio::test]
async fn probes_go_the_way_of_clients() {
    let upstream = axum_upstream::start().await;
    let pool = Pool::from_upstreams([over_http2(&upstream)])
        .probe(WebSocketProbe::get("/ws/echo"))
        .probe_schedule(ProbeSchedule::every(Duration::from_millis(5)))
        .build();
    let _gate = ProxyServer::over(pool.clone(), |layer| layer).await;
    let probed = async {
        loop {
            if let Some(probe) = pool.snapshot().remove(0).last_probe {
                return probe.kind.to_string();
            }
            tokio::task::yield_now().await;
        }
    };
    let text = within("a probe", probed).await;
    assert!(text.starts_with("probe passed"), "{text}");
}

#[tokio::test]
async fn probes_by_http_are_plain_requests_on_the_same_connection() {
    let mut upstream = H2Upstream::start().await;
    let pool = Pool::from_upstreams([upstream.upstream()])
        .probe(HttpProbe::get("/health").expect_body("fine"))
        .build();
    let proxy = ProxyServer::over(pool.clone(), |layer| layer).await;
    let asked = upstream.next().await;
    assert_eq!(asked.request.method(), Method::GET);
    assert_eq!(asked.request.uri().path(), "/health");
    assert!(!asked.request.headers().contains_key("connection"));
    asked.refuse(200, "fine", None);
    let probed = async {
        while pool.snapshot().remove(0).last_probe.is_none() {
            tokio::task::yield_now().await;
        }
    };
    within("a probe", probed).await;
    let probe = pool.snapshot().remove(0).last_probe.unwrap();
    assert!(probe.kind.to_string().starts_with("probe passed"));
    tunnel(&mut upstream, &proxy).await;
    assert_eq!(upstream.log().accepted, 1);
}

#[tokio::test]
async fn a_client_that_is_announced_shares_no_connection() {
    let upstream = RawUpstream::start(|mut conn| async move {
        let announced = conn.read_exact(6).await;
        assert_eq!(&announced[..], b"PROXY ");
        while conn.read_exact(1).await[0] != b'\n' {}
        let head = conn.read_request_head().await;
        assert_eq!(head.method(), "GET");
        conn.accept_101(&head, &[]).await;
    })
    .await;
    let announced = Upstream::new(&upstream.url())
        .unwrap()
        .http_version(HttpVersion::Http2)
        .send_proxy_protocol(ProxyProtocol::V1);
    let proxy = ProxyServer::over(Pool::from_upstreams([announced]), |layer| layer).await;
    RawClient::open(proxy.addr(), "/ws/x").await;
}

#[tokio::test]
async fn an_upstream_without_extended_connect_fails_its_probes_too() {
    let plain = H2Upstream::with(h2::server::Builder::new()).await;
    let pool = Pool::from_upstreams([plain.upstream()])
        .probe(WebSocketProbe::get("/ws"))
        .build();
    let _gate = ProxyServer::over(pool.clone(), |layer| layer).await;
    let probed = async {
        while pool.snapshot().remove(0).last_probe.is_none() {
            tokio::task::yield_now().await;
        }
    };
    within("a probe", probed).await;
    let probe = pool.snapshot().remove(0).last_probe.unwrap();
    let text = probe.kind.to_string();
    assert!(
        text.contains("does not support WebSockets over HTTP/2"),
        "{text}"
    );
}

#[tokio::test]
async fn the_headers_of_the_host_reach_upstreams_over_http2() {
    let mut upstream = H2Upstream::start().await;
    let mut given = UpstreamHeaders::new();
    given.insert("x-user-id".parse().unwrap(), "alice".parse().unwrap());
    given.insert("connection".parse().unwrap(), "close".parse().unwrap());
    let layer = ProxyLayer::new(Pool::from_upstreams([upstream.upstream()]));
    let app = Router::new().fallback(any(|| async {}));
    let server = serve_axum(app.layer(layer).layer(Extension(given))).await;
    let mut client = RawClient::connect(server.addr()).await;
    let named = [
        ("connection", "Upgrade, x-user-id"),
        ("x-user-id", "mallory"),
        ("x_user_id", "mallory"),
    ];
    let asked = async {
        let asked = upstream.next().await;
        let headers = asked.request.headers();
        assert_eq!(headers["x-user-id"], "alice");
        for absent in ["x_user_id", "connection"] {
            assert!(!headers.contains_key(absent), "{absent}");
        }
        asked.accept(&[])
    };
    let (head, _end) = tokio::join!(client.handshake("/ws/a", &named), asked);
    assert_eq!(head.status(), 101);
}

//! Events of a handshake, and rejections that the host restyles.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{map_request, map_response};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use wsplice::frame::{CloseCode, CloseFrame};
use wsplice::handshake::InvalidHandshake;
use wsplice::{Error, ErrorKind, handshake::InvalidUpgradeResponse, tunnel::Side};

use super::kit::{Host, Proxied, expect_page, expect_untouched, pages, pool, text};
use crate::support::frames::{self, masked, read_frame};
use crate::support::raw::{KEY, RawClient, handshake_request};
use crate::support::scripts::{self, Then};
use crate::support::serve::serve_axum;
use crate::support::upstream::{RawUpstream, closed_addr};

#[tokio::test]
async fn an_accepted_handshake_is_told_and_then_its_tunnel() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = Proxied::before(&upstream).await;
    let client = proxied.open("/ws/x?secret=1").await;
    let accepted = format!("accepted /ws/x {}", upstream.addr());
    proxied.expect_events(&[&accepted, "opened /ws/x"]).await;
    assert_eq!(proxied.open_tunnels(), 1);
    client.reset();
    proxied
        .expect_events(&[&accepted, "opened /ws/x", "closed /ws/x"])
        .await;
    // The observer of the end finds the counts updated.
    assert_eq!(proxied.open_tunnels(), 0);
    proxied.expect_idle().await;
}

#[tokio::test]
async fn a_client_that_leaves_right_after_its_handshake_leaves_nothing() {
    for host in Host::ALL {
        let upstream = RawUpstream::start(scripts::echo()).await;
        let proxied = Proxied::on(host, &upstream).await;
        for _ in 0..20 {
            let mut client = proxied.connect().await;
            client.send(&handshake_request("/ws/x", &[])).await;
            client.reset();
        }
        proxied.expect_idle().await;
        let log = upstream.log();
        upstream
            .wait_for("every connection's end", |log| log.ended == log.accepted)
            .await;
        assert!(log.accepted <= 20);
    }
}

#[tokio::test]
async fn a_draining_proxy_rejects_with_503_and_retry_after() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let mut drain = None;
    let proxied = Proxied::with(&upstream, |layer| {
        drain = Some(layer.drain());
        layer
    })
    .await;
    drain.expect("a handle").refuse_new();
    let (mut client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 503);
    let seconds: u64 = head.get("retry-after").expect("a wait").parse().unwrap();
    assert!(seconds > 0);
    assert_eq!(text(&mut client, &head).await, "draining, no new tunnels\n");
    proxied.expect_events(&["rejected /ws/x Draining"]).await;
    expect_page(&mut client).await;
    expect_untouched(&upstream).await;
}

/// The error that the response to this request carries.
async fn error_of(
    upstream: String,
    request: &[u8],
    settings: impl FnOnce(wsplice::ProxyLayer) -> wsplice::ProxyLayer,
) -> Error {
    let (sender, mut errors) = tokio::sync::mpsc::unbounded_channel();
    let layer = settings(wsplice::ProxyLayer::new(pool([upstream])));
    let outer = map_response(move |response: Response| {
        let error = response.extensions().get::<Error>().cloned();
        sender.send(error).expect("the test listens");
        async move { response }
    });
    let server = serve_axum(pages().layer(layer).layer(outer)).await;
    let mut client = RawClient::connect(server.addr()).await;
    client.send(request).await;
    client.read_head().await;
    errors
        .recv()
        .await
        .expect("a response")
        .expect("an error in its extensions")
}

#[tokio::test]
async fn a_response_carries_its_error() {
    fn source<T: std::error::Error + Copy + 'static>(error: &Error) -> Option<T> {
        std::error::Error::source(error)?.downcast_ref().copied()
    }
    let right = handshake_request("/ws/x", &[]);

    let wrong = handshake_request("/ws/x", &[("Sec-WebSocket-Version", "8")]);
    let nowhere = format!("ws://{}", closed_addr().await);
    let error = error_of(nowhere.clone(), &wrong, |layer| layer).await;
    assert_eq!(error.kind(), ErrorKind::MalformedHandshake);
    assert_eq!(error.side(), Side::Client);
    assert_eq!(source(&error), Some(InvalidHandshake::Version));

    let error = error_of(nowhere, &right, |layer| layer).await;
    assert_eq!(
        (error.kind(), error.side()),
        (ErrorKind::Connect, Side::Upstream)
    );

    let upstream = RawUpstream::start(scripts::wrong_accept()).await;
    let error = error_of(upstream.url(), &right, |layer| layer).await;
    assert_eq!(
        (error.kind(), error.side()),
        (ErrorKind::InvalidUpgradeResponse, Side::Upstream)
    );
    assert_eq!(source(&error), Some(InvalidUpgradeResponse::AcceptKey));

    let upstream = RawUpstream::start(scripts::silence()).await;
    let error = error_of(upstream.url(), &right, |layer| {
        layer.handshake_timeout(Duration::from_millis(20))
    })
    .await;
    assert_eq!(error.kind(), ErrorKind::HandshakeTimeout);
    assert!(format!("{error:#}").contains("20ms"), "{error:#}");
}

#[tokio::test]
async fn a_rejection_may_be_restyled() {
    let upstream = RawUpstream::start(scripts::wrong_accept()).await;
    let proxied = Proxied::with(&upstream, |layer| {
        layer.map_rejection(|error, mut response| {
            *response.body_mut() = Bytes::from(format!("{:?}", error.kind()));
            *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
            let value = HeaderValue::from_static("restyled");
            response.headers_mut().insert("x-style", value);
            response
        })
    })
    .await;
    for (extra, kind) in [
        (&[][..], "InvalidUpgradeResponse"),
        (&[("Sec-WebSocket-Version", "8")][..], "MalformedHandshake"),
    ] {
        let (mut client, head) = proxied.handshake("/ws/x", extra).await;
        assert_eq!(
            (head.status(), head.get("x-style")),
            (418, Some("restyled"))
        );
        assert_eq!(text(&mut client, &head).await, kind);
        expect_page(&mut client).await;
    }
}

#[tokio::test]
async fn a_refusal_is_not_a_rejection_and_is_not_restyled() {
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    let upstream = RawUpstream::start(scripts::fixed(refusal, Then::Hold)).await;
    let proxied = Proxied::with(&upstream, |layer| {
        layer.map_rejection(|error, _| panic!("{error} is not ours"))
    })
    .await;
    let (mut client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 403);
    assert_eq!(text(&mut client, &head).await, "no");
}

#[tokio::test]
async fn what_failed_behind_the_proxy_is_not_told_to_the_client() {
    let addr = closed_addr().await;
    let proxied = Proxied::start(Host::Axum, pool([format!("ws://{addr}")]), |layer| layer).await;
    let (mut client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 502);
    let shown = format!("{head:?}") + &text(&mut client, &head).await;
    assert!(!shown.contains("127.0.0.1") && !shown.contains(&addr.port().to_string()));
    assert!(!shown.contains("refused"), "{shown}");
}

#[tokio::test]
async fn a_tunnel_is_listed_with_what_was_agreed() {
    let upstream = RawUpstream::start(scripts::accept(&[("Sec-WebSocket-Protocol", "chat")])).await;
    let mut registry = None;
    let proxied = Proxied::with(&upstream, |layer| {
        registry = Some(layer.registry());
        layer
    })
    .await;
    let offer = &[("Sec-WebSocket-Protocol", "chat")];
    let (mut client, _head) = proxied.handshake("/ws/x?secret=1", offer).await;
    proxied.wait_for_event("opened /ws/x").await;
    let registry = registry.expect("a registry");
    let listed = registry.list();
    assert_eq!(listed.len(), 1);
    let info = &listed[0].info;
    assert_eq!(&*info.path, "/ws/x");
    assert_eq!(*info.upstream, *upstream.addr().to_string());
    assert_eq!(info.subprotocol.as_deref(), Some("chat"));
    assert!(registry.close(info.id, CloseFrame::new(CloseCode::GOING_AWAY, "over")));
    let close = read_frame(&mut client).await.close();
    assert_eq!(close, Some((1001, "over".to_owned())));
}

#[tokio::test]
async fn a_server_that_cannot_hand_over_the_connection_gets_500_and_no_upstream() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = Proxied::within(
        &upstream,
        |layer| layer,
        |router| {
            router.layer(map_request(|mut request: Request| async {
                request
                    .extensions_mut()
                    .remove::<hyper::upgrade::OnUpgrade>();
                request
            }))
        },
    )
    .await;
    let (mut client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 500);
    let body = text(&mut client, &head).await;
    assert_eq!(body, "the connection cannot be upgraded\n");
    proxied
        .expect_events(&["rejected /ws/x NotUpgradable"])
        .await;
    expect_page(&mut client).await;
    expect_untouched(&upstream).await;
}

#[tokio::test]
async fn a_101_that_never_reaches_the_client_ends_by_the_client_upgrade_timeout() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = Proxied::within(
        &upstream,
        |layer| layer.client_upgrade_timeout(Duration::from_millis(50)),
        |router| {
            router.layer(map_response(|_: Response| async {
                "another layer had the last word"
            }))
        },
    )
    .await;
    let (_client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 200);
    let accepted = format!("accepted /ws/x {}", upstream.addr());
    let failed = format!("failed /ws/x ClientUpgrade {}", upstream.addr());
    proxied.expect_events(&[&accepted, &failed]).await;
    upstream.wait_for("its end", |log| log.ended == 1).await;
}

#[tokio::test]
async fn a_client_that_leaves_behind_its_first_frame_leaves_nothing() {
    for host in Host::ALL {
        let upstream = RawUpstream::start(scripts::echo()).await;
        let proxied = Proxied::on(host, &upstream).await;
        for _ in 0..10 {
            let mut client = proxied.connect().await;
            let frame = masked(frames::text("gone"));
            let bytes = [handshake_request("/ws/x", &[]), frame].concat();
            client.send(&bytes).await;
            drop(client);
        }
        upstream
            .wait_for("every connection's end", |log| log.ended == 10)
            .await;
        proxied.expect_idle().await;
    }
}

/// A log that can be read.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_says_why_a_101_was_refused_and_gives_no_secret_away() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let upstream = RawUpstream::start(scripts::wrong_accept()).await;
    let proxied = Proxied::before(&upstream).await;
    let secrets = [
        ("Cookie", "session=cookie-secret"),
        ("Authorization", "Bearer bearer-secret"),
    ];
    let ask = async || {
        let (_client, head) = proxied
            .handshake("/ws/x?token=query-secret", &secrets)
            .await;
        assert_eq!(head.status(), 502);
    };
    ask().await;
    // The thread of another test may have been the first to pass a callsite, and have noted it as
    // one without subscribers.
    tracing::callsite::rebuild_interest_cache();
    ask().await;

    let written = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let mut own = written.lines().filter(|line| line.contains("wsplice::"));
    let reason = "the Sec-WebSocket-Accept header does not match the key";
    assert!(own.clone().any(|line| line.contains(reason)), "{written}");
    assert!(!own.any(|line| line.contains("secret") || line.contains(KEY)));
}

use std::{
    io,
    sync::{Mutex, atomic::Ordering},
};

use super::*;
use crate::{
    error::ErrorKind,
    frame::OpCode,
    http::handshake::InvalidUpgradeResponse,
    upstream::health::{
        HealthEventKind,
        probe::{
            HttpProbe,
            testing::{Refusing, Scripted, UpstreamEnd, event, failure, header, outcome},
        },
    },
};

fn probe() -> WebSocketProbe {
    WebSocketProbe::get("/ws/health")
}

fn behaving() -> Arc<Scripted> {
    Scripted::new(|mut far| async move {
        far.accept("").await;
        far.respond_normally().await;
    })
}

/// Returns an upstream that runs the script after the handshake.
fn after_101<F, Fut>(script: F) -> Arc<Scripted>
where
    F: Fn(UpstreamEnd) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Scripted::new(move |mut far| {
        let script = script.clone();
        async move {
            far.accept("").await;
            script(far).await;
        }
    })
}

/// Returns the request head and all frames that a normal upstream received.
async fn seen(probe: &WebSocketProbe, lines: &'static str) -> (String, Vec<(OpCode, Vec<u8>)>) {
    let log = Arc::new(Mutex::new(None));
    let done = Arc::new(tokio::sync::Notify::new());
    let upstream = Scripted::new({
        let (log, done) = (Arc::clone(&log), Arc::clone(&done));
        move |mut far: UpstreamEnd| {
            let (log, done) = (Arc::clone(&log), Arc::clone(&done));
            async move {
                let head = far.accept(lines).await;
                let frames = far.respond_normally().await;
                *log.lock().unwrap() = Some((head, frames));
                done.notify_one();
            }
        }
    });
    assert_eq!(outcome(probe, upstream).await, Ok(()));
    done.notified().await;
    let seen = log.lock().unwrap().take();
    seen.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_healthy_upstream_gets_a_handshake_a_ping_and_a_close_with_1000() {
    let (head, frames) = seen(&probe(), "").await;
    assert!(head.starts_with("GET /ws/health HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "host"), Some("upstream:8080"));
    assert_eq!(header(&head, "sec-websocket-version"), Some("13"));
    assert_eq!(header(&head, "sec-websocket-extensions"), None);
    let [(OpCode::PING, ping), (OpCode::CLOSE, close)] = &frames[..] else {
        panic!("saw {frames:?}");
    };
    assert_eq!((ping.len(), &close[..]), (8, &1000_u16.to_be_bytes()[..]));
}

#[tokio::test(start_paused = true)]
async fn keys_and_pings_are_never_the_same_twice() {
    let (first, second) = (seen(&probe(), "").await, seen(&probe(), "").await);
    let key = "sec-websocket-key";
    assert_ne!(header(&first.0, key), header(&second.0, key));
    assert_ne!(first.1[0], second.1[0]);
}

/// Returns an upstream that upgrades, and responds to other requests with this; an empty response
/// closes the connection.
fn websocket_only(response: &'static str) -> Arc<Scripted> {
    Scripted::new(move |mut far| async move {
        let request = far.request().await;
        if header(&request, "upgrade") != Some("websocket") {
            return far.write(response.as_bytes()).await;
        }
        far.accept_this(&request, "").await;
        far.respond_normally().await;
    })
}

#[tokio::test(start_paused = true)]
async fn a_server_that_speaks_nothing_but_websocket_passes_a_hundred_probes() {
    for response in [
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n",
        "",
    ] {
        let upstream = websocket_only(response);
        let http = HttpProbe::get("/ws/health");
        assert!(
            outcome(&http, upstream.clone()).await.is_err(),
            "{response}"
        );
        for _ in 0..100 {
            assert_eq!(outcome(&probe(), upstream.clone()).await, Ok(()));
        }
        assert_eq!(upstream.connections.load(Ordering::Relaxed), 101);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_handshake_is_reported_with_its_status() {
    let upstream = Scripted::responding("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    let said = outcome(&probe(), upstream).await;
    let expected = "the handshake was refused with 404 Not Found";
    assert_eq!(said, Err(expected.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_accepts_and_hangs_times_out_in_the_handshake() {
    let upstream = Scripted::new(UpstreamEnd::hang);
    let event = event(&probe(), upstream).await;
    assert_eq!(event.at - event.began, Duration::from_secs(5));
    let HealthEventKind::ProbeFailed { reason } = event.kind else {
        panic!("it passed");
    };
    assert_eq!(reason.to_string(), "handshake timed out after 5s");
}

#[tokio::test(start_paused = true)]
async fn a_missing_pong_times_out() {
    let upstream = after_101(UpstreamEnd::hang);
    let said = outcome(&probe(), upstream).await;
    assert_eq!(said, Err("pong timed out after 5s".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_pong_with_another_payload_is_none() {
    let upstream = after_101(|mut far| async move {
        far.control(OpCode::PONG, b"").await;
        far.control(OpCode::PONG, b"12345678").await;
        far.hang().await;
    });
    let said = outcome(&probe(), upstream).await;
    assert_eq!(said, Err("pong timed out after 5s".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_key_is_found_rfc6455_4_1() {
    let upstream = Scripted::responding(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    let ProbeFailure::Failed(error) = failure(&probe(), upstream).await else {
        panic!("another failure");
    };
    assert_eq!(error.kind(), ErrorKind::InvalidUpgradeResponse);
    let source = std::error::Error::source(&error).unwrap();
    let disagreement = source.downcast_ref::<InvalidUpgradeResponse>();
    assert_eq!(disagreement, Some(&InvalidUpgradeResponse::AcceptKey));
}

#[tokio::test(start_paused = true)]
async fn a_failure_to_connect_is_reported_as_for_a_client() {
    for (kind, expected) in [
        (io::ErrorKind::ConnectionRefused, ErrorKind::Connect),
        (io::ErrorKind::NotFound, ErrorKind::Resolve),
    ] {
        let ProbeFailure::Failed(error) = failure(&probe(), Arc::new(Refusing(kind))).await else {
            panic!("another failure");
        };
        assert_eq!(error.kind(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_hangs_up_is_reported_with_its_step() {
    let max_concurrent = Scripted::new(|far| async move { drop(far) });
    let ProbeFailure::Failed(error) = failure(&probe(), max_concurrent).await else {
        panic!("another failure");
    };
    assert_eq!(error.kind(), ErrorKind::NoResponse);
    let after = after_101(|far| async move { drop(far) });
    let said = outcome(&probe(), after).await;
    assert_eq!(said, Err("the connection ended before the pong".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_close_instead_of_a_pong_is_a_failure() {
    let upstream = after_101(|mut far| async move {
        far.control(OpCode::CLOSE, &1013_u16.to_be_bytes()).await;
        far.respond_normally().await;
    });
    let closed = failure(&probe(), upstream).await;
    assert!(matches!(
        closed,
        ProbeFailure::Closed(Some(CloseCode::TRY_AGAIN_LATER))
    ));
}

#[tokio::test(start_paused = true)]
async fn pings_data_and_fragments_before_the_pong_are_no_trouble() {
    let upstream = after_101(|mut far| async move {
        far.send_text(&"welcome ".repeat(40_000)).await;
        far.control(OpCode::PING, b"are you there").await;
        far.write(&[0x02, 1, 7, 0x89, 0, 0x80, 1, 7]).await;
        let mut pongs = 0;
        while let Some((opcode, payload)) = far.frame().await {
            match opcode {
                OpCode::PONG => pongs += 1,
                OpCode::PING => far.control(OpCode::PONG, &payload).await,
                _ => assert_eq!(pongs, 2, "our pings were not answered"),
            }
        }
    });
    assert_eq!(outcome(&probe(), upstream).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_invalid_frame_is_a_violation() {
    for bytes in [
        &[0x83, 0][..],
        &[0x89, 126, 0, 200],
        &[0x89, 0x80, 1, 2, 3, 4],
        &[0xC1, 0],
    ] {
        let upstream = after_101(move |mut far| async move {
            far.write(bytes).await;
            far.hang().await;
        });
        let violation = failure(&probe(), upstream).await;
        assert!(matches!(violation, ProbeFailure::Violation(_)), "{bytes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_ignores_the_close_passes_with_the_latency_of_its_pong() {
    let upstream = after_101(|mut far| async move {
        let (_, payload) = far.frame().await.unwrap();
        tokio::time::sleep(Duration::from_millis(4_500)).await;
        far.control(OpCode::PONG, &payload).await;
        far.hang().await;
    });
    // The closing handshake runs into the probe's timeout, which has no effect anymore.
    let event = event(&probe(), upstream).await;
    let HealthEventKind::ProbePassed { latency } = event.kind else {
        panic!("{:?}", event.kind);
    };
    assert_eq!(latency, Duration::from_millis(4_500));
    assert_eq!(event.at - event.began, Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn the_closing_handshake_is_bounded() {
    let upstream = after_101(|mut far| async move {
        let (_, payload) = far.frame().await.unwrap();
        far.control(OpCode::PONG, &payload).await;
        far.hang().await;
    });
    let event = event(&probe(), upstream).await;
    assert_eq!(event.at - event.began, CLOSE_TIMEOUT);
}

/// Returns an upstream that greets, then sends "pong" for "ping" and "what" for any other text.
fn talking() -> Arc<Scripted> {
    after_101(|mut far| async move {
        far.send_text("hello").await;
        while let Some((opcode, payload)) = far.frame().await {
            match (opcode, &payload[..]) {
                (OpCode::PING, payload) => far.control(OpCode::PONG, payload).await,
                (OpCode::TEXT, b"ping") => far.send_text("pong").await,
                (OpCode::TEXT, _) => far.send_text("what").await,
                _ => far.control(OpCode::CLOSE, &payload).await,
            }
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_text_is_exchanged() {
    let probe = probe().send_text("ping");
    let right = probe.clone().expect_text("pong");
    assert_eq!(outcome(&right, talking()).await, Ok(()));
    let part = probe.clone().expect_text_with("on");
    assert_eq!(outcome(&part, talking()).await, Ok(()));
    assert_eq!(outcome(&probe, talking()).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_text_is_a_failure() {
    let probe = probe().send_text("pang").expect_text("pong");
    let wrong = failure(&probe, talking()).await;
    assert!(matches!(wrong, ProbeFailure::UnexpectedText));
}

#[tokio::test(start_paused = true)]
async fn no_text_at_all_times_out() {
    let probe = probe().send_text("ping").expect_text("pong");
    let said = outcome(&probe, behaving()).await;
    assert_eq!(said, Err("text timed out after 5s".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_greeting_is_received_before_the_pong() {
    let greeted = probe().expect_text("hello");
    assert_eq!(outcome(&greeted, talking()).await, Ok(()));
    let other = failure(&probe().expect_text("hi"), talking()).await;
    assert!(matches!(other, ProbeFailure::UnexpectedText));
}

#[tokio::test(start_paused = true)]
async fn a_subprotocol_that_is_offered_must_be_chosen() {
    let probe = probe().subprotocol("chat").unwrap();
    let (head, _) = seen(&probe, "Sec-WebSocket-Protocol: chat\r\n").await;
    assert_eq!(header(&head, "sec-websocket-protocol"), Some("chat"));
    let none = failure(&probe, behaving()).await;
    assert!(matches!(none, ProbeFailure::NoSubprotocol));
    assert!(WebSocketProbe::get("/").subprotocol("a\nb").is_err());
}

#[tokio::test(start_paused = true)]
async fn headers_and_host_are_sent_and_cannot_break_the_handshake() {
    let edits = HeaderEdits::new()
        .set("authorization", "Bearer x")
        .and_then(|edits| edits.set("connection", "close"))
        .and_then(|edits| edits.set("sec-websocket-key", "x"))
        .unwrap();
    let host = HeaderValue::from_static("chat.example");
    let (head, _) = seen(&probe().host(host).headers(edits), "").await;
    assert_eq!(header(&head, "authorization"), Some("Bearer x"));
    assert_eq!(header(&head, "connection"), Some("Upgrade"));
    assert_eq!(header(&head, "host"), Some("chat.example"));
}

#[tokio::test(start_paused = true)]
async fn headers_that_spoil_the_handshake_fail_before_anything_is_sent() {
    let edits = HeaderEdits::new().set("content-length", "5").unwrap();
    let ProbeFailure::Failed(error) = failure(&probe().headers(edits), behaving()).await else {
        panic!("another failure");
    };
    assert_eq!(error.kind(), ErrorKind::MalformedHandshake);
}

#[cfg(feature = "regex")]
#[tokio::test(start_paused = true)]
async fn a_text_may_be_expected_by_expression() {
    let probe = probe().send_text("ping");
    let right = probe.clone().expect_text_match("^p.ng$").unwrap();
    assert_eq!(outcome(&right, talking()).await, Ok(()));
    let wrong = probe.expect_text_match("^ng$").unwrap();
    let wrong = failure(&wrong, talking()).await;
    assert!(matches!(wrong, ProbeFailure::UnexpectedText));
}

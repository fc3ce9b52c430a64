//! The origin guard: cross-site handshakes end at the proxy (RFC 6455 §10.2).

use wsplice::matcher::{Matcher, client_ip, not, origin, path, same_origin};

use super::kit::{Proxied, expect_page, expect_untouched, text};
use crate::support::scripts;
use crate::support::upstream::RawUpstream;

async fn guarded(upstream: &RawUpstream) -> Proxied {
    let allowed = same_origin().or(origin(["https://admin.test"]).unwrap());
    Proxied::with(upstream, |layer| layer.allow_origins(allowed)).await
}

#[tokio::test]
async fn an_origin_that_is_not_allowed_gets_403_and_no_upstream() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = guarded(&upstream).await;
    for origin in [
        "https://evil.test",
        "null",
        "",
        "http://app.test.evil.test",
        "http://app.test:8080",
        "https://admin.test.evil.test",
        "http://admin.test",
        "http://app.test, https://evil.test",
    ] {
        let (mut client, head) = proxied.handshake("/ws/x", &[("Origin", origin)]).await;
        assert_eq!(head.status(), 403, "{origin:?}");
        assert_eq!(text(&mut client, &head).await, "origin not allowed\n");
        expect_page(&mut client).await;
    }
    let two = [
        ("Origin", "http://app.test"),
        ("Origin", "https://evil.test"),
    ];
    let (_client, head) = proxied.handshake("/ws/x", &two).await;
    assert_eq!(head.status(), 403);
    proxied
        .expect_events(&["rejected /ws/x OriginNotAllowed"; 9])
        .await;
    proxied.expect_idle().await;
    expect_untouched(&upstream).await;
}

#[tokio::test]
async fn an_origin_that_is_allowed_and_a_client_that_is_no_browser_pass() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = guarded(&upstream).await;
    for extra in [
        &[][..],
        &[("Origin", "http://app.test")],
        &[("Origin", "https://admin.test")],
    ] {
        let (_client, head) = proxied.handshake("/ws/x", extra).await;
        assert_eq!(head.status(), 101, "{extra:?}");
    }
}

#[tokio::test]
async fn ordinary_requests_are_not_guarded() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = guarded(&upstream).await;
    let mut client = proxied.connect().await;
    client
        .send_request("/page", &[("Origin", "https://evil.test")])
        .await;
    let head = client.read_head().await;
    assert_eq!(head.status(), 200);
    assert_eq!(text(&mut client, &head).await, "page");
}

#[tokio::test]
async fn without_a_guard_every_origin_passes() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = Proxied::before(&upstream).await;
    let (_client, head) = proxied
        .handshake("/ws/x", &[("Origin", "https://evil.test")])
        .await;
    assert_eq!(head.status(), 101);
}

/// A guard is evaluated like the matcher of owned requests: with the client's address, and for
/// every reading of the path.
#[tokio::test]
#[cfg_attr(not(feature = "axum"), ignore = "axum tells the address")]
async fn a_guard_knows_the_client_and_every_reading_of_the_path() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let strange = [("Origin", "https://strange.test")];
    let near = client_ip(["127.0.0.0/8", "::1"]).unwrap();
    let proxied = Proxied::with(&upstream, |layer| layer.allow_origins(near)).await;
    let (_client, head) = proxied.handshake("/ws/x", &strange).await;
    assert_eq!(head.status(), 101);

    let upstream = RawUpstream::start(scripts::echo()).await;
    let open = not(path("/ws/private/*"));
    let proxied = Proxied::with(&upstream, |layer| layer.allow_origins(open)).await;
    for path in ["/ws/private/x", "/ws/a/..%2fprivate/x"] {
        let (_client, head) = proxied.handshake(path, &strange).await;
        assert_eq!(head.status(), 403, "{path}");
    }
    expect_untouched(&upstream).await;
}

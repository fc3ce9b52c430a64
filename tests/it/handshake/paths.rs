//! Paths: the owned path is the forwarded one, byte for byte unless a rewrite is set.

use wsplice::head::{PathRewrite, RequestHead};

use super::kit::{Host, Proxied, expect_inner, expect_untouched, only_head, text, values};
use crate::support::raw::handshake_request;
use crate::support::scripts;
use crate::support::upstream::RawUpstream;

#[tokio::test]
async fn no_spelling_of_another_path_reaches_the_upstream() {
    for host in Host::ALL {
        let upstream = RawUpstream::start(scripts::echo()).await;
        let proxied = Proxied::on(host, &upstream).await;
        for target in [
            "/ws/../private",
            "/ws/..",
            "/ws/../",
            "/ws/./../private",
            "/ws/x/../../private",
            "/ws//../private",
            "/ws/%2e%2e/private",
            "/ws/%2E%2E/private",
            "/ws/.%2e/private",
            "/ws/%2e./private",
            "/ws/..%2fprivate",
            "/ws/..%2Fprivate",
            "/ws%2f..%2fprivate",
            "/ws/%2e%2e%2fprivate",
            "/ws/%252e%252e/private",
            "/ws/..%252fprivate",
            "/ws/..\\private",
            "/ws/..%5cprivate",
            "/ws\\..\\private",
            "/ws/..;/private",
            "/ws/..;x=1/private",
            "/ws/%2e%2e;/private",
            "/ws/.. /private".replace(' ', "%20").as_str(),
            "/private/../ws/x",
            "/private/%2e%2e/ws/x",
            "/private/..%2fws/x",
            "/private;/../ws/x",
            "/x/../private/../ws/../private",
            "/ws/%c0%ae%c0%ae/private",
            "/ws/x%00/../../private",
        ] {
            let (mut client, head) = proxied.handshake(target, &[]).await;
            expect_inner(&mut client, &head, target).await;
        }
        expect_untouched(&upstream).await;
    }
}

#[tokio::test]
async fn no_spelling_with_an_absolute_target_reaches_the_upstream() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = Proxied::before(&upstream).await;
    for target in [
        "http://app.test/ws/../private",
        "http://app.test/ws/..%2fprivate",
        "http://app.test/private/../ws/x",
        "http://app.test",
        "http://ws/x",
    ] {
        let (mut client, head) = proxied.handshake(target, &[]).await;
        assert!(
            text(&mut client, &head).await.starts_with("inner GET"),
            "{target}"
        );
    }
    expect_untouched(&upstream).await;
}

#[tokio::test]
async fn what_is_owned_is_forwarded_byte_for_byte() {
    for target in [
        "/ws/",
        "/ws/a%20b//c?x=%31&y",
        "/ws/x?",
        "/ws/x??/../private",
        "/ws/x?a=%00&b=../..&c=%2f#".trim_end_matches('#'),
        "/ws/%c3%a9/%C3%A9",
        "/ws/%7euser/~user",
        "/ws/%41%42",
        "/%77s/x",
        "/ws//",
        "/ws/./x",
        "/ws/x/../y",
        "/ws/a;b=c,d:e@f!g$h&i'j(k)l*m+n=o",
        "/ws/a%2fb",
        "/ws/100%",
    ] {
        let upstream = RawUpstream::start(scripts::echo()).await;
        let proxied = Proxied::before(&upstream).await;
        let (_client, head) = proxied.handshake(target, &[]).await;
        assert_eq!(head.status(), 101, "{target}");
        assert_eq!(only_head(&upstream).await.target(), target);
    }
}

#[tokio::test]
async fn a_target_of_8000_bytes_is_forwarded() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = Proxied::before(&upstream).await;
    let target = format!("/ws/x?{}", "token".repeat(1600));
    let (_client, head) = proxied.handshake(&target, &[]).await;
    assert_eq!(head.status(), 101);
    assert_eq!(only_head(&upstream).await.target(), target);
}

#[tokio::test]
async fn an_absolute_target_is_forwarded_in_origin_form_rfc9112_3_2_2() {
    for (target, forwarded, host) in [
        (
            "http://other.test/ws/a%20b?x=1",
            "/ws/a%20b?x=1",
            "other.test",
        ),
        ("http://other.test:8080/ws/x", "/ws/x", "other.test:8080"),
        ("ws://other.test/ws/x", "/ws/x", "other.test"),
        ("HTTP://user:secret@other.test/ws/x", "/ws/x", "other.test"),
    ] {
        let upstream = RawUpstream::start(scripts::echo()).await;
        let proxied = Proxied::before(&upstream).await;
        let (_client, head) = proxied.handshake(target, &[]).await;
        assert_eq!(head.status(), 101, "{target}");
        let asked = only_head(&upstream).await;
        assert_eq!(asked.target(), forwarded);
        assert_eq!(values(&asked, "host"), [host]);
    }
}

/// A proxy that rewrites paths, and owns all of them.
async fn rewriting(upstream: &RawUpstream, rewrite: PathRewrite) -> Proxied {
    Proxied::with(upstream, |layer| {
        layer.matching(|_: &RequestHead<'_>| true).rewrite(rewrite)
    })
    .await
}

#[tokio::test]
async fn a_rewrite_strips_a_prefix() {
    for (target, forwarded) in [
        ("/ws/a%20b?x=%31&y", "/a%20b?x=%31&y"),
        ("/ws", "/"),
        ("/ws/", "/"),
        ("/ws/ws/x", "/ws/x"),
        ("/%77s/a%2Fb", "/a%2Fb"),
        ("/wsx/y", "/wsx/y"),
    ] {
        let upstream = RawUpstream::start(scripts::echo()).await;
        let proxied = rewriting(&upstream, PathRewrite::strip_prefix("/ws").unwrap()).await;
        let (_client, head) = proxied.handshake(target, &[]).await;
        assert_eq!(head.status(), 101, "{target}");
        assert_eq!(only_head(&upstream).await.target(), forwarded, "{target}");
    }
}

#[tokio::test]
async fn a_rewrite_sets_the_path_and_leaves_the_query() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = rewriting(&upstream, PathRewrite::set_path("/socket").unwrap()).await;
    let (_client, head) = proxied.handshake("/ws/x?y=%31", &[]).await;
    assert_eq!(head.status(), 101);
    assert_eq!(only_head(&upstream).await.target(), "/socket?y=%31");
}

#[tokio::test]
async fn a_path_that_climbs_out_of_an_added_prefix_gets_400_and_no_upstream() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = rewriting(&upstream, PathRewrite::add_prefix("/chat").unwrap()).await;
    for target in ["/..%2fprivate", "/%252e%252e/private", "/..;/private"] {
        let (mut client, head) = proxied.handshake(target, &[]).await;
        assert_eq!(head.status(), 400, "{target}");
        assert_eq!(
            text(&mut client, &head).await,
            "the rewritten path is not valid\n"
        );
    }
    proxied
        .expect_events(&[
            "rejected /..%2fprivate Rewrite",
            "rejected /%252e%252e/private Rewrite",
            "rejected /..;/private Rewrite",
        ])
        .await;
    expect_untouched(&upstream).await;
}

#[tokio::test]
async fn a_target_that_hyper_does_not_take_reaches_nobody() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxied = Proxied::before(&upstream).await;
    for target in ["ws/x", "/ws/x y", "/ws/\u{7f}", ""] {
        let (_client, head) = proxied.send(&handshake_request(target, &[])).await;
        assert_eq!(head.status(), 400, "{target:?}");
    }
    expect_untouched(&upstream).await;
}

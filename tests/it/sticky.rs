//! Sticky cookies behind a running proxy.

use wsplice::{
    ForwardHttp, Pool, ProxyLayer,
    balance::{First, Sticky},
    headers::{ClientInfo, Networks},
};

use crate::support::{
    head::Head,
    raw::RawClient,
    scripts::{self, Then},
    serve::{Server, serve_hyper},
    upstream::RawUpstream,
};

const REFUSAL: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";

const CACHEABLE: &str =
    "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=600\r\nContent-Length: 2\r\n\r\nhi";

fn sticky() -> Sticky {
    Sticky::new("up", [7; 32]).unwrap()
}

async fn proxy(upstreams: &[&RawUpstream], policy: Sticky) -> Server {
    let pool = Pool::new(upstreams.iter().map(|upstream| upstream.url())).unwrap();
    // The peer is a trusted proxy, so that it may report the client's scheme.
    let layer = ProxyLayer::new(pool.balance(policy))
        .client_info(|_| Some(ClientInfo::new().with_peer(([10, 0, 0, 1], 9).into())))
        .trust(Networks::parse(["10.0.0.0/8"]).unwrap());
    serve_hyper(layer.into_service()).await
}

async fn answer(proxy: &Server, extra: &[(&str, &str)]) -> Head {
    let mut client = RawClient::connect(proxy.addr()).await;
    client.handshake("/ws", extra).await
}

fn pair(head: &Head) -> String {
    let line = head.get("set-cookie").unwrap();
    line.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_that_comes_back_finds_its_upstream() {
    let one = RawUpstream::start(scripts::echo()).await;
    let other = RawUpstream::start(scripts::echo()).await;
    let first = answer(&proxy(&[&one], sticky()).await, &[]).await;
    assert_eq!(first.status(), 101);
    let cookie = pair(&first);

    // Another proxy, which lists the same upstreams in another order.
    let proxy = proxy(&[&other, &one], sticky().fallback(First::new())).await;
    for _ in 0..3 {
        let again = answer(&proxy, &[("Cookie", &cookie)]).await;
        assert_eq!((again.status(), again.get("set-cookie")), (101, None));
    }
    assert_eq!((one.log().accepted, other.log().accepted), (4, 0));
}

#[tokio::test]
async fn where_the_upstream_cannot_be_reached_another_is_named() {
    let one = RawUpstream::start(scripts::echo()).await;
    let other = RawUpstream::start(scripts::echo()).await;
    let cookie = pair(&answer(&proxy(&[&one], sticky()).await, &[]).await);
    let proxy = proxy(&[&one, &other], sticky()).await;
    drop(one);
    let moved = answer(&proxy, &[("Cookie", &cookie)]).await;
    assert_eq!(moved.status(), 101);
    assert_ne!(pair(&moved), cookie);
    assert_eq!(other.log().accepted, 1);
}

#[tokio::test]
async fn a_refusal_sets_the_cookie_too() {
    let upstream = RawUpstream::start(scripts::fixed(REFUSAL, Then::Close)).await;
    let head = answer(&proxy(&[&upstream], sticky()).await, &[]).await;
    assert_eq!(head.status(), 403);
    assert!(pair(&head).starts_with("up="));
    assert_eq!(head.get("cache-control"), Some("private"));
}

/// A shared cache in front must not give the cookie to other clients (RFC 9111 §7.3).
#[tokio::test]
async fn a_cacheable_response_that_sets_the_cookie_is_private() {
    let response = scripts::fixed(CACHEABLE, Then::Close);
    let upstream = RawUpstream::start(response).await;
    let pool = Pool::new([upstream.url()]).unwrap().balance(sticky());
    let layer = ProxyLayer::new(pool).forward_http(ForwardHttp::new());
    let proxy = serve_hyper(layer.into_service()).await;
    let get = async |headers: &[(&str, &str)]| {
        let mut client = RawClient::connect(proxy.addr()).await;
        client.send_request("/page", headers).await;
        client.read_head().await
    };

    let first = get(&[]).await;
    assert_eq!(first.status(), 200);
    assert_eq!(first.get("cache-control"), Some("max-age=600, private"));

    // Without the cookie in it, the response is the upstream's own.
    let again = get(&[("Cookie", &pair(&first))]).await;
    assert_eq!((again.status(), again.get("set-cookie")), (200, None));
    assert_eq!(again.get("cache-control"), Some("public, max-age=600"));
}

#[tokio::test]
async fn the_cookie_is_secure_where_the_client_speaks_tls() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxy = proxy(&[&upstream], sticky()).await;
    for (proto, attributes) in [
        ("http", "; Path=/; HttpOnly; SameSite=Lax"),
        ("https", "; Path=/; HttpOnly; SameSite=Lax; Secure"),
    ] {
        let head = answer(&proxy, &[("X-Forwarded-Proto", proto)]).await;
        assert_eq!(head.get("set-cookie").unwrap()[83..], *attributes);
    }
}

//! Policies behind a running proxy.

use http::{HeaderName, HeaderValue};
use wsplice::{
    Pool, ProxyLayer, Upstream,
    balance::{Balance, Candidate, Candidates, First},
    head::RequestHead,
    headers::ClientScheme,
};

use crate::support::{
    raw::RawClient,
    scripts::{self, Then},
    serve::{Server, serve_hyper},
    upstream::RawUpstream,
};

async fn proxy(pool: impl Into<Pool>) -> Server {
    serve_hyper(ProxyLayer::new(pool).into_service()).await
}

#[tokio::test]
async fn open_tunnels_stay_level_by_default() {
    let upstreams = [
        RawUpstream::start(scripts::echo()).await,
        RawUpstream::start(scripts::echo()).await,
    ];
    let pool = Pool::new(upstreams.iter().map(RawUpstream::url)).unwrap();
    let proxy = proxy(pool).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(RawClient::open(proxy.addr(), "/ws").await);
    }
    // Of two upstreams both are always compared.
    for upstream in &upstreams {
        assert_eq!(upstream.log().heads.len(), 10);
    }
}

#[tokio::test]
async fn an_upstream_of_weight_0_gets_nothing_even_if_the_other_fails() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let weightless = Upstream::new(&upstream.url()).unwrap().weight(0);
    let gone = Upstream::new("ws://127.0.0.1:1").unwrap();
    let proxy = proxy(Pool::from_upstreams([weightless, gone])).await;
    let mut client = RawClient::connect(proxy.addr()).await;
    assert_eq!(client.handshake("/ws", &[]).await.status(), 502);
    assert_eq!(upstream.log().accepted, 0);
}

#[tokio::test]
async fn a_closure_picks_and_the_next_policy_steps_in() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let other = RawUpstream::start(scripts::echo()).await;
    let second = |candidates: &Candidates<'_>, request: &RequestHead<'_>| {
        (candidates.len() == 2 && request.query() == Some("second")).then_some(1)
    };
    let pool = Pool::new([upstream.url(), other.url()]).unwrap();
    let proxy = proxy(pool.balance(second.or_else(First::new()))).await;
    let _one = RawClient::open(proxy.addr(), "/ws?second").await;
    let _other = RawClient::open(proxy.addr(), "/ws").await;
    assert_eq!(other.log().heads[0].target(), "/ws?second");
    assert_eq!(upstream.log().heads[0].target(), "/ws");
}

/// Policy that adds a header with the client's scheme and the path.
struct AddScheme;

impl Balance for AddScheme {
    fn pick(&self, _: &Candidates<'_>, _: &RequestHead<'_>) -> Option<usize> {
        Some(0)
    }

    fn response_header(
        &self,
        picked: &Candidate<'_>,
        request: &RequestHead<'_>,
        scheme: ClientScheme,
    ) -> Option<(HeaderName, HeaderValue)> {
        let line = format!("{scheme} {} {}", request.path(), picked.tunnels());
        Some((
            HeaderName::from_static("x-scheme"),
            line.try_into().unwrap(),
        ))
    }
}

#[tokio::test]
async fn a_policys_header_is_on_the_101_and_beside_what_the_upstream_set() {
    let set = scripts::accept(&[("X-Scheme", "by the upstream")]);
    let upstream = RawUpstream::start(set).await;
    let proxy = proxy(Pool::new([upstream.url()]).unwrap().balance(AddScheme)).await;
    let mut client = RawClient::connect(proxy.addr()).await;
    let head = client.handshake("/ws", &[]).await;
    assert_eq!(head.status(), 101);
    let schemes: Vec<_> = head.all("x-scheme").collect();
    assert_eq!(schemes, ["by the upstream", "http /ws 1"]);
}

#[tokio::test]
async fn a_policys_header_is_on_a_refusal_and_on_nothing_of_the_proxys_own() {
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    let upstream = RawUpstream::start(scripts::fixed(refusal, Then::Close)).await;
    let refusing = proxy(Pool::new([upstream.url()]).unwrap().balance(AddScheme)).await;
    let mut client = RawClient::connect(refusing.addr()).await;
    let head = client.handshake("/ws", &[]).await;
    assert_eq!(
        (head.status(), head.get("x-scheme")),
        (403, Some("http /ws 1"))
    );

    let gone = proxy(Pool::new(["ws://127.0.0.1:1"]).unwrap().balance(AddScheme)).await;
    let mut client = RawClient::connect(gone.addr()).await;
    let head = client.handshake("/ws", &[]).await;
    assert_eq!((head.status(), head.get("x-scheme")), (502, None));
}

//! Pools that change, and pools that are full.

use std::time::Duration;

use axum::Router;
use tokio::task::JoinSet;
use wsplice::{
    Admission, Pool, ProxyLayer, Upstream, balance::First, frame::CloseCode, pool::OnUpstreamLoss,
};

use crate::support::{
    axum_upstream, frames,
    raw::RawClient,
    scripts,
    serve::{Server, serve_axum},
    upstream::RawUpstream,
};

async fn serve(pool: &Pool) -> Server {
    serve_axum(Router::new().layer(ProxyLayer::new(pool.clone()))).await
}

async fn status(server: &Server) -> u16 {
    let mut client = RawClient::connect(server.addr()).await;
    client.handshake("/ws/echo", &[]).await.status()
}

fn tunnels(pool: &Pool) -> usize {
    pool.snapshot()
        .iter()
        .map(|upstream| upstream.tunnels)
        .sum()
}

#[tokio::test]
async fn edits_take_effect_at_once_and_an_identical_set_is_none() {
    let (a, b) = (axum_upstream::start().await, axum_upstream::start().await);
    let of = |server: &Server| Upstream::new(&server.url()).unwrap();
    let pool = Pool::from_upstreams([of(&a)]).build();
    let server = serve(&pool).await;
    assert_eq!(status(&server).await, 101);
    assert!(!pool.replace([of(&a)]), "the same set again");
    assert!(!pool.add(of(&a)));
    assert!(pool.replace([of(&b)]));
    drop(a);
    assert_eq!(status(&server).await, 101);
    assert!(pool.remove(of(&b).name()));
    assert!(!pool.remove(of(&b).name()));
    assert_eq!(status(&server).await, 503);
    assert!(pool.add(of(&b)));
    assert_eq!(status(&server).await, 101);
}

#[test]
fn the_pool_of_a_layer_with_a_policy_and_limits_of_its_own_is_still_the_same() {
    let pool = Pool::new(["ws://a:80"]).unwrap().build();
    let layer = ProxyLayer::new(pool.clone())
        .balance(First::new())
        .admission(Admission::new().max_tunnels(1));
    assert!(layer.pool().same_pool(&pool));
    assert!(pool.same_pool(&layer.clone().pool()));
    let namesake = Pool::new(["ws://a:80"]).unwrap().build();
    assert!(!namesake.same_pool(&pool));
}

#[tokio::test]
async fn a_removed_upstreams_tunnels_live_or_are_closed_as_told() {
    for choice in [
        OnUpstreamLoss::Leave,
        OnUpstreamLoss::Close {
            spread: Duration::ZERO,
        },
    ] {
        let upstream = RawUpstream::start(scripts::echo()).await;
        let pool = Pool::new([upstream.url()])
            .unwrap()
            .removed_tunnels(choice)
            .build();
        let server = serve(&pool).await;
        let mut client = RawClient::open(server.addr(), "/ws").await;
        assert!(pool.remove(&upstream.addr().to_string()));
        if choice == OnUpstreamLoss::Leave {
            let text = frames::masked(frames::text("still here"));
            assert_eq!(client.exchange(&text, text.len()).await, text);
        } else {
            let frame = frames::read_frame(&mut client).await;
            let code = CloseCode::SERVICE_RESTART.as_u16();
            assert_eq!(frame.close(), Some((code, "upstream removed".into())));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_edits_while_500_clients_connect_lose_no_client() {
    let (a, b) = (axum_upstream::start().await, axum_upstream::start().await);
    let of = |server: &Server, weight| Upstream::new(&server.url()).unwrap().weight(weight);
    let pool = Pool::from_upstreams([of(&a, 1), of(&b, 1)])
        .admission(Admission::new().max_tunnels(50).max_handshakes(50))
        .build();
    let server = serve(&pool).await;
    let mut clients = JoinSet::new();
    for _ in 0..10 {
        let addr = server.addr();
        clients.spawn(async move {
            for _ in 0..50 {
                let mut client = RawClient::open(addr, "/ws/echo").await;
                let text = frames::masked(frames::text("hi"));
                client.send(&text).await;
                assert_eq!(client.read_exact(4).await[..], [0x81, 2, b'h', b'i']);
            }
        });
    }
    // The edits go on until the last client is through.
    let mut edit = 0_u32;
    while edit < 10_000 || !clients.is_empty() {
        match edit % 3 {
            0 => drop(pool.remove(of(&a, 1).name())),
            1 => drop(pool.add(of(&a, 1 + edit % 7))),
            _ => drop(pool.replace([of(&b, 1 + edit % 5), of(&a, 1)])),
        }
        edit += 1;
        if edit % 16 == 0 {
            tokio::task::yield_now().await;
        }
        while let Some(client) = clients.try_join_next() {
            client.unwrap();
        }
    }
    pool.replace([of(&a, 1), of(&b, 1)]);
    while tunnels(&pool) > 0 {
        tokio::task::yield_now().await;
    }
    assert!(
        pool.snapshot()
            .iter()
            .all(|upstream| upstream.handshakes == 0)
    );
    // The pool's own count is at zero as well: there is room for as many as at first.
    let clients = [(); 50].map(|()| RawClient::open(server.addr(), "/ws/echo"));
    assert_eq!(futures_util::future::join_all(clients).await.len(), 50);
}

#[tokio::test]
async fn a_full_upstream_gives_way_to_another_and_a_full_pool_says_503() {
    let (a, b) = (axum_upstream::start().await, axum_upstream::start().await);
    let one = Admission::new().max_tunnels(1);
    let of = |server: &Server| Upstream::new(&server.url()).unwrap().admission(one);
    let pool = Pool::from_upstreams([of(&a), of(&b)]).build();
    let server = serve(&pool).await;
    let first = RawClient::open(server.addr(), "/ws/echo").await;
    let _second = RawClient::open(server.addr(), "/ws/echo").await;
    let mut third = RawClient::connect(server.addr()).await;
    let head = third.handshake("/ws/echo", &[]).await;
    assert_eq!(head.status(), 503);
    assert!(head.get("retry-after").is_some());
    first.reset();
    while tunnels(&pool) > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&server).await, 101);
}

#[tokio::test]
async fn a_queue_lets_one_in_when_another_leaves() {
    let upstream = axum_upstream::start().await;
    let pool = Pool::new([upstream.url()])
        .unwrap()
        .admission(Admission::new().max_tunnels(1))
        .queue(1, Duration::from_secs(10))
        .build();
    let server = serve(&pool).await;
    let first = RawClient::open(server.addr(), "/ws/echo").await;
    let mut second = RawClient::connect(server.addr()).await;
    second
        .send(&crate::support::raw::handshake_request("/ws/echo", &[]))
        .await;
    first.reset();
    assert_eq!(second.read_head().await.status(), 101);
}

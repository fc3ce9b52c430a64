//! Many tunnels at once.

use std::time::Duration;

use tokio::{task::JoinSet, time::timeout};
use wsplice::tunnel::{Side, TunnelEnd};

use crate::support::{
    axum_upstream,
    clients::{Client, Fast, Message, Tungstenite},
    descriptors::affordable,
    frames::{self, masked, read_frame},
    raw::RawClient,
    rng::{Checksum, Xorshift},
    scripts,
    tunnels::ProxyServer,
    upstream::RawUpstream,
};

/// Tunnels at the same time, where the machine allows that many descriptors.
const TUNNELS: usize = 1000;

/// Time limit of the test. Far above its usual time, so never the thing under test.
const DEADLINE: Duration = Duration::from_secs(120);

/// 1,000 tunnels at once, random messages both ways: nothing is lost, nothing changes places.
///
/// Every client sends frames of random sizes and gets them back from an upstream that returns
/// every byte; it compares a checksum, which covers order and length. All of them are open before
/// the first one sends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tunnels_lose_and_reorder_nothing() {
    let tunnels = affordable(TUNNELS, 4);
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxy = ProxyServer::to([upstream.url()]).await;

    let mut clients = Vec::new();
    for _ in 0..tunnels {
        clients.push(RawClient::open(proxy.addr(), "/ws/room").await);
    }
    assert_eq!(proxy.registry().count(), tunnels);

    let mut talks = JoinSet::new();
    for (seed, client) in (0..).zip(clients) {
        talks.spawn(talk(client, seed));
    }
    let passed = timeout(DEADLINE, talks.join_all()).await;
    let passed: Vec<usize> = passed.expect("a thousand talks to end");

    let events = proxy
        .wait_for("all tunnels to end", |events| {
            events.closed.len() == tunnels
        })
        .await;
    assert_eq!(proxy.registry().count(), 0);
    for (_, report) in &events.closed {
        assert_eq!(
            (&report.end, report.initiator),
            (&TunnelEnd::Closed, Side::Client)
        );
        assert_eq!(
            report.client_to_upstream.bytes,
            report.upstream_to_client.bytes
        );
        assert_eq!(
            report.client_to_upstream.frames,
            report.upstream_to_client.frames
        );
    }
    let total: u64 = events
        .closed
        .iter()
        .map(|(_, report)| report.client_to_upstream.bytes)
        .sum();
    assert_eq!(total, passed.iter().sum::<usize>() as u64);
}

/// Sends and receives random frames, then closes; returns the number of bytes sent.
async fn talk(mut client: RawClient, seed: u64) -> usize {
    let mut numbers = Xorshift::new(seed);
    let mut said = 0;
    for _ in 0..4 {
        // A burst of small frames, or one that takes many reads and writes.
        let mut burst = Vec::new();
        for _ in 0..=numbers.below(8) {
            let len = match numbers.below(10) {
                0 => numbers.below(100_000),
                _ => numbers.below(500),
            };
            burst.extend(masked(frames::binary(&numbers.bytes(len))));
        }
        let back = client.exchange(&burst, burst.len()).await;
        assert_eq!(Checksum::of(&back), Checksum::of(&burst), "tunnel {seed}");
        said += burst.len();
    }
    let close = masked(frames::close(1000, ""));
    client.send(&close).await;
    assert_eq!(read_frame(&mut client).await.raw, close);
    client.fin().await;
    client.expect_eof().await;
    said + close.len()
}

/// The same with real clients and a real application, fewer of them: their buffers are large.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_real_clients_hear_their_own_messages() {
    let upstream = axum_upstream::start().await;
    let proxy = ProxyServer::to([upstream.url()]).await;
    let mut talks = JoinSet::new();
    for seed in 0..40 {
        talks.spawn(converse::<Tungstenite>(proxy.addr(), seed));
        talks.spawn(converse::<Fast>(proxy.addr(), seed + 1000));
    }
    timeout(DEADLINE, talks.join_all())
        .await
        .expect("all to end");
    let events = proxy
        .wait_for("all tunnels to end", |events| events.closed.len() == 80)
        .await;
    assert!(
        events
            .closed
            .iter()
            .all(|(_, report)| report.end == TunnelEnd::Closed)
    );
}

async fn converse<C: Client>(addr: std::net::SocketAddr, seed: u64) {
    let mut client = C::connect(addr, "/ws/echo").await;
    let mut numbers = Xorshift::new(seed);
    for _ in 0..10 {
        let len = numbers.below(60_000);
        let message = bytes::Bytes::from(numbers.bytes(len));
        client.send_binary(message.clone()).await;
        assert_eq!(client.next().await, Message::Binary(message));
    }
    client.send_close(1000, "").await;
    assert_eq!(
        client.next().await,
        Message::Close(Some((1000, String::new())))
    );
    assert!(matches!(client.next().await, Message::Gone(_)));
}

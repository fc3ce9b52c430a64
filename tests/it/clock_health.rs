//! Health events of tunnels, and their times, on a paused clock.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{Instant, sleep},
};
use wsplice::{
    KeepAlive, Observer, ProxyLayer,
    balance::First,
    headers::ClientInfo,
    health::{EventFilter, HealthTransition, Passive, availability::FailClosed},
    observe::UpstreamInfo,
    pool::OnUpstreamLoss,
};

use super::{
    clock_kit::secs,
    clock_upstreams::{Does, World, crowd, shake_hands},
    support::frames::{masked, pong},
};

/// Observer that records each change of health with its time.
#[derive(Debug, Clone, Default)]
struct Changes(Arc<Mutex<Vec<(Instant, String)>>>);

impl Observer for Changes {
    fn health_changed(&self, upstream: &UpstreamInfo<'_>, transition: &HealthTransition) {
        let change = (Instant::now(), format!("{} {transition}", upstream.name));
        self.0.lock().unwrap().push(change);
    }
}

fn one_lost_tunnel_is_too_many() -> Passive {
    Passive::default().fails(1).counting(EventFilter::passive())
}

/// Gives every client an address of its own.
fn each_from_its_own_address(layer: ProxyLayer) -> ProxyLayer {
    let next = AtomicU8::new(1);
    layer.client_info(move |_| {
        let ip = [10, 0, 0, next.fetch_add(1, Ordering::Relaxed)];
        Some(ClientInfo::from(SocketAddr::from((ip, 4000))))
    })
}

/// A client that answers pings and does nothing else.
async fn answer_pings(mut stream: DuplexStream) {
    while let Ok([first, len]) = stream.read_u16().await.map(u16::to_be_bytes) {
        let mut payload = vec![0; len.into()];
        stream
            .read_exact(&mut payload)
            .await
            .expect("a whole frame");
        if first == 0x89 {
            stream
                .write_all(&masked(pong(&payload)))
                .await
                .expect("a proxy");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_never_pongs_is_bad_at_that_moment_and_not_when_the_tunnel_is_over() {
    let world = World::of([Does::Accept, Does::Accept]);
    let pool = world
        .pool()
        .balance(First::new())
        .health_policy(one_lost_tunnel_is_too_many())
        .build();
    let changes = Changes::default();
    // Ping after 20 s, pong within 10 s.
    let keep_alive = KeepAlive::default().jitter(0.0);
    let proxy = world.proxy(&pool, |layer| {
        let layer = layer.keep_alive(keep_alive).observer(changes.clone());
        each_from_its_own_address(layer)
    });
    let began = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let got = shake_hands(proxy.clone()).await;
        assert_eq!(got.status, 101);
        // The client answers pings, but not our close frame, which takes its time.
        clients.spawn(answer_pings(got.stream));
    }
    sleep(secs(60)).await;
    let changes = changes.0.lock().unwrap().clone();
    let [(at, change)] = &changes[..] else {
        panic!("{changes:?}")
    };
    assert_eq!(*at - began, secs(30));
    assert_eq!(
        change,
        "a:80 unhealthy: 1 consecutive tunnel failure: tunnel lost after 30s"
    );
    assert_eq!(pool.snapshot()[0].tunnels, 0);
    clients.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_handshake_counts_while_tunnels_live_on_for_hours() {
    let world = World::of([Does::Accept]);
    let pool = world
        .pool()
        .health_policy(Passive::default().fails(1))
        .availability(FailClosed)
        .unhealthy_tunnels(OnUpstreamLoss::Leave)
        .build();
    let proxy = world.proxy(&pool, |layer| layer);
    let tunnel = shake_hands(proxy.clone()).await;
    sleep(secs(4 * 3600)).await;
    world.turn("a:80", Does::RefuseConnections);
    assert_eq!(shake_hands(proxy).await.status, 502);
    let status = pool.snapshot().remove(0);
    assert_eq!(status.health.since(), Instant::now());
    assert_eq!(status.tunnels, 1);
    assert!(!status.is_used);
    drop(tunnel);
}

/// A path on which the application hangs up.
#[tokio::test(start_paused = true)]
async fn thirty_handshakes_of_one_client_on_one_path_make_no_upstream_unhealthy() {
    let world = World::of([Does::HangUp, Does::HangUp]);
    let pool = world.pool().build();
    let proxy = world.proxy(&pool, |layer| layer);
    for _ in 0..30 {
        assert_eq!(shake_hands(proxy.clone()).await.status, 502);
    }
    for status in pool.snapshot() {
        assert!(status.health.is_usable() && status.is_doubted, "{status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_open_upstream_that_hangs_is_tried_by_one_client_at_a_time() {
    let world = World::of([Does::RefuseConnections, Does::Accept]);
    let pool = world.pool().build();
    let proxy = world.proxy(&pool, |layer| layer);
    while pool.snapshot()[0].health.is_usable() {
        assert_eq!(shake_hands(proxy.clone()).await.status, 101);
    }
    let asked = world.asked("a:80");
    world.turn("a:80", Does::HangInHandshake);
    sleep(secs(12)).await;
    let got = crowd(&proxy, 300).await;
    let lost = got.iter().filter(|got| got.status != 101).count();
    assert_eq!((lost, world.asked("a:80") - asked), (1, 1));
}

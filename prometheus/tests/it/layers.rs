//! Layers that have a pool, a registry or a name in common: nothing is counted twice, or left out.

use std::time::Duration;

use prometheus_client::registry::Registry as Metrics;
use tokio::time::sleep;
use wsplice::{
    Admission, Pool, ProxyLayer, Registry,
    discovery::{DiscoverError, PollSource},
    health::{
        HealthControl,
        probe::{ProbeSchedule, WebSocketProbe},
    },
    pool::{PoolBuilder, RetryBudget},
    tunnel::registry::Traffic,
};

use super::kit::{BINARY, Client, Does, World, has, scrape, sum};

const CHAT: (&str, &str) = ("pool", "chat");
const FEED: (&str, &str) = ("pool", "feed");
const BYTES: &str = "wsplice_bytes_total";
const EJECTIONS: &str = "wsplice_ejections_total";
const DENIED: &str = "wsplice_retries_denied_total";

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// The bytes of both directions.
fn bytes(traffic: Traffic) -> f64 {
    float(traffic.client_to_upstream.bytes + traffic.upstream_to_client.bytes)
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

fn pool() -> PoolBuilder {
    Pool::new(["ws://a:80", "ws://b:80"]).unwrap()
}

/// A pool that denies each handshake that fails its retry.
fn strict_pool(addresses: [&str; 2]) -> Pool {
    let none = RetryBudget::new().ratio(0.0).per_second(0);
    let pool = Pool::new(addresses).unwrap();
    pool.retry_budget(none).build()
}

/// A pool without room, in whose queue all handshakes wait.
fn full_pool() -> Pool {
    let none = Admission::new().max_tunnels(0);
    pool().admission(none).queue(9, minutes(5)).build()
}

/// A layer that shares the pool of this proxy.
fn sharing(world: &World) -> ProxyLayer {
    ProxyLayer::new(world.layer.pool())
}

fn eject(pool: &Pool, upstream: &str) {
    assert!(pool.control_health(upstream, HealthControl::ForcedUnhealthy));
}

/// Sends and gets 1000 bytes, and closes the WebSocket.
async fn exchange(mut client: Client) {
    client.send(BINARY, &[0; 1000]).await;
    client.next().await.unwrap();
    client.close(1000).await;
    client.finish().await;
}

/// Waits until no layer to an upstream with these labels is there, nor a task of its connections.
async fn until_dropped(metrics: &Metrics, labels: &[(&str, &str)]) {
    while has(&scrape(metrics), "wsplice_upstream_healthy", labels) {
        sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_probes_of_a_pool_of_two_layers_are_counted_once() {
    let pool = pool()
        .probe(WebSocketProbe::get("/health"))
        .probe_schedule(ProbeSchedule::every(minutes(60)));
    let world = World::new(pool, |layer| layer);
    let rooms = world.beside("chat", sharing(&world));
    sleep(minutes(1)).await;
    assert_eq!(world.sum("wsplice_probes_total", &[]), 2.0, "one of each");
    drop(rooms);
}

#[tokio::test(start_paused = true)]
async fn the_ejections_from_a_pool_of_two_layers_are_counted_once() {
    let world = World::new(pool(), |layer| layer);
    let rooms = world.beside("chat", sharing(&world));
    let pool = world.layer.pool();
    eject(&pool, "a:80");
    assert_eq!(pool.snapshot()[0].counters.ejections, 1);
    assert_eq!(world.sum(EJECTIONS, &[]), 1.0);
    drop(rooms);
}

#[tokio::test(start_paused = true)]
async fn the_failures_to_find_the_upstreams_of_two_layers_are_counted_once() {
    let world = World::new(pool(), |layer| layer);
    let rooms = world.beside("chat", sharing(&world));
    let failing = PollSource::new(minutes(60), || async {
        Err::<Vec<wsplice::Upstream>, _>(DiscoverError::failed("no"))
    });
    let follow = world.layer.pool().follow(failing);
    sleep(minutes(1)).await;
    let failures = world.sum("wsplice_discovery_failures_total", &[]);
    assert_eq!(failures, float(follow.status().failures));
    assert!(failures > 0.0);
    drop(rooms);
}

#[tokio::test(start_paused = true)]
async fn the_wait_in_the_queue_of_two_layers_is_counted_once() {
    let world = World::new(full_pool(), |layer| layer);
    let rooms = world.beside("chat", sharing(&world));
    let looks = async {
        sleep(minutes(1)).await;
        assert_eq!(world.sum("wsplice_queue_length", &[]), 1.0);
    };
    let (client, ()) = tokio::join!(rooms.open("/echo"), looks);
    assert_eq!(client.status, 503);
    assert_eq!(world.sum("wsplice_queue_wait_seconds_count", &[]), 1.0);
}

#[tokio::test(start_paused = true)]
async fn the_events_of_a_pool_are_counted_while_one_of_its_layers_is_there() {
    let pool = pool().build();
    let first = World::new(pool.clone(), |layer| layer);
    let second = first.beside("chat", sharing(&first));
    let third = first.beside("chat", sharing(&first));
    drop(first);
    eject(&pool, "a:80");
    assert_eq!(second.sum(EJECTIONS, &[]), 1.0);
    drop(third);
    eject(&pool, "b:80");
    let metrics = second.drop_proxy();
    assert!(pool.control_health("a:80", HealthControl::ForcedHealthy));
    eject(&pool, "a:80");
    assert_eq!(sum(&scrape(&metrics), EJECTIONS, &[]), 2.0, "not observed");
}

#[tokio::test(start_paused = true)]
async fn each_name_of_a_pool_has_all_of_its_events() {
    let world = World::new(pool(), |layer| layer);
    let feed = world.beside("feed", sharing(&world));
    eject(&world.layer.pool(), "a:80");
    assert_eq!(world.sum(EJECTIONS, &[CHAT]), 1.0);
    assert_eq!(world.sum(EJECTIONS, &[FEED]), 1.0);
    drop(feed);
}

#[tokio::test(start_paused = true)]
async fn layers_with_one_registry_have_their_own_bytes_and_tunnels() {
    let registry = Registry::new();
    let world = World::new(pool(), |layer| layer.with_registry(&registry));
    let feed = world.beside("feed", ProxyLayer::new(pool()).with_registry(&registry));
    let client = world.open("/echo").await;
    world.layer.drain().refuse_new();
    for (name, remaining) in [(CHAT, 1.0), (FEED, 0.0)] {
        assert_eq!(world.sum("wsplice_draining", &[name]), 1.0);
        let found = world.sum("wsplice_drain_remaining_tunnels", &[name]);
        assert_eq!(found, remaining, "{name:?}");
    }
    world.layer.drain().resume();
    exchange(client).await;
    world.until("wsplice_tunnels", &[], 0.0).await;
    let found = [CHAT, FEED].map(|name| feed.sum(BYTES, &[name]));
    assert_eq!(
        found,
        [bytes(registry.traffic()), 0.0],
        "no client came to feed"
    );
}

#[tokio::test(start_paused = true)]
async fn the_bytes_of_a_layer_that_is_observed_twice_are_counted_once() {
    let mut layer = None;
    // The two have an observer each, and their tunnels in common.
    let world = World::new(pool(), |fresh| layer.insert(fresh).clone());
    let again = world.beside("chat", layer.take().unwrap());
    exchange(world.open("/echo").await).await;
    exchange(again.open("/echo").await).await;
    world.until("wsplice_tunnels", &[], 0.0).await;
    let both = bytes(world.layer.tunnels().traffic());
    assert!(both > 4000.0);
    assert_eq!(world.sum(BYTES, &[]), both);
    drop(world);
    assert_eq!(again.sum(BYTES, &[]), both);
    let metrics = again.drop_proxy();
    until_dropped(&metrics, &[]).await;
    assert_eq!(sum(&scrape(&metrics), BYTES, &[]), both);
}

#[tokio::test(start_paused = true)]
async fn the_bytes_of_a_layer_that_is_observed_again_later_are_counted_once() {
    let mut layer = None;
    let world = World::new(pool(), |fresh| layer.insert(fresh).clone());
    let other = world.beside("feed", ProxyLayer::new(pool()));
    exchange(world.open("/echo").await).await;
    world.until("wsplice_tunnels", &[], 0.0).await;
    let before = world.sum(BYTES, &[CHAT]);
    drop(world);
    until_dropped(&other.registry, &[CHAT]).await;
    let again = other.beside("chat", layer.take().unwrap());
    assert_eq!(other.sum(BYTES, &[CHAT]), before);
    exchange(again.open("/echo").await).await;
    other.until(BYTES, &[CHAT], before * 2.0).await;
}

#[tokio::test(start_paused = true)]
async fn the_queues_of_two_pools_of_one_name_are_added_up() {
    let world = World::new(full_pool(), |layer| layer);
    let other = world.beside("chat", ProxyLayer::new(full_pool()));
    let looks = async {
        sleep(minutes(1)).await;
        assert_eq!(world.layer.pool().queue_len(), 1);
        assert_eq!(other.layer.pool().queue_len(), 2);
        assert_eq!(world.sum("wsplice_queue_length", &[]), 3.0);
    };
    let wait = async { tokio::join!(world.open("/"), other.open("/"), other.open("/")) };
    tokio::select! {
        _ = wait => unreachable!("there is no room for five minutes"),
        () = looks => {}
    }
}

#[tokio::test(start_paused = true)]
async fn the_denied_retries_of_two_pools_of_one_name_are_added_up_and_never_decrease() {
    let first_pool = strict_pool(["ws://a:80", "ws://b:80"]);
    let world = World::new(first_pool.clone(), |layer| layer);
    let sharing_first = world.beside("chat", sharing(&world));
    let other = world.beside(
        "chat",
        ProxyLayer::new(strict_pool(["ws://c:80", "ws://d:80"])),
    );
    world.upstreams.turn(Does::RefuseConnections);
    for proxy in [&world, &sharing_first, &other] {
        assert_eq!(proxy.open("/echo").await.status, 502);
    }
    assert_eq!(other.sum(DENIED, &[]), 3.0);
    // One of two layers of a pool, then the other, then another one of the same pool.
    drop(world);
    assert_eq!(other.sum(DENIED, &[]), 3.0);
    drop(sharing_first);
    until_dropped(&other.registry, &[("upstream", "a:80")]).await;
    assert_eq!(other.sum(DENIED, &[]), 3.0);
    let again = other.beside("chat", ProxyLayer::new(first_pool));
    assert_eq!(other.sum(DENIED, &[]), 3.0);
    assert_eq!(again.open("/echo").await.status, 502);
    assert_eq!(other.sum(DENIED, &[]), 4.0);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_of_two_pools_is_healthy_if_it_is_so_in_both() {
    let world = World::new(pool(), |layer| layer);
    let other = world.beside("chat", ProxyLayer::new(pool()));
    let a = [CHAT, ("upstream", "a:80")];
    assert_eq!(world.sum("wsplice_upstream_healthy", &a), 1.0);
    for pool in [world.layer.pool(), other.layer.pool()] {
        eject(&pool, "a:80");
        assert_eq!(world.sum("wsplice_upstream_healthy", &a), 0.0);
        assert!(pool.control_health("a:80", HealthControl::ForcedHealthy));
        assert_eq!(world.sum("wsplice_upstream_healthy", &a), 1.0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_handshakes_in_progress_of_two_pools_of_one_name_are_added_up() {
    let one = || Pool::new(["ws://a:80"]).unwrap();
    let world = World::new(one(), |layer| layer);
    let other = world.beside("chat", ProxyLayer::new(one()));
    world.upstreams.turn(Does::HangInHandshake);
    let progress = world.until("wsplice_handshakes_in_progress", &[CHAT], 2.0);
    tokio::join!(world.open("/echo"), other.open("/echo"), progress);
}

#[tokio::test(start_paused = true)]
async fn series_of_an_upstream_that_left_one_of_two_pools_stay() {
    let gone = [CHAT, ("upstream", "a:80")];
    let world = World::new(pool(), |layer| layer);
    let other = pool().build();
    let layer = ProxyLayer::new(other.clone()).connector(world.upstreams.clone());
    let layer = world.metrics.observe_as("chat", layer).into_service();
    world.upstreams.turn(Does::Answer(404));
    while !world.has("wsplice_handshakes_total", &gone) {
        world.open("/").await;
    }
    assert!(other.remove("a:80"));
    for _ in 0..20 {
        sleep(minutes(1)).await;
        assert!(
            world.has("wsplice_handshakes_total", &gone),
            "it is in the first pool"
        );
    }
    assert!(world.layer.pool().remove("a:80"));
    sleep(minutes(11)).await;
    assert!(!world.has("wsplice_handshakes_total", &gone));
    drop(layer);
}

#[tokio::test(start_paused = true)]
async fn series_of_the_upstreams_of_a_pool_that_was_dropped_go() {
    let gone = [CHAT, ("upstream", "c:80")];
    let world = World::new(pool(), |layer| layer);
    let other = Pool::new(["ws://c:80"]).unwrap().build();
    let layer = world
        .metrics
        .observe_as("chat", ProxyLayer::new(other.clone()));
    assert!(other.control_health("c:80", HealthControl::ForcedUnhealthy));
    assert!(world.has(EJECTIONS, &gone));
    drop((layer, other));
    sleep(minutes(9)).await;
    assert!(world.has(EJECTIONS, &gone), "its last scrape was just now");
    sleep(minutes(11)).await;
    assert!(!world.has(EJECTIONS, &gone));
}

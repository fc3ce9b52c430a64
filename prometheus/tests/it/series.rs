//! The life of series: upstreams and layers that come and go.

use std::time::Duration;

use tokio::time::sleep;
use wsplice::{Pool, ProxyLayer, Upstream};

use super::kit::{Does, World, scrape, sum};

const GONE: [(&str, &str); 1] = [("upstream", "a:80")];
const HANDSHAKES: &str = "wsplice_handshakes_total";

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

fn world() -> World {
    World::new(Pool::new(["ws://a:80", "ws://b:80"]).unwrap(), |layer| {
        layer
    })
}

#[tokio::test(start_paused = true)]
async fn series_of_an_upstream_that_left_go_after_ten_minutes() {
    let world = world();
    world.upstreams.turn(Does::Answer(404));
    while !world.has(HANDSHAKES, &GONE) {
        assert_eq!(world.open("/").await.status, 404);
    }
    assert!(world.layer.pool().remove("a:80"));
    assert!(
        !world.has("wsplice_upstream_healthy", &GONE),
        "no longer in the pool"
    );
    sleep(minutes(9)).await;
    assert!(world.has(HANDSHAKES, &GONE));
    sleep(minutes(1)).await;
    assert!(!world.has(HANDSHAKES, &GONE));
    assert_eq!(world.open("/").await.status, 404);
    assert!(world.has(HANDSHAKES, &[("upstream", "b:80")]));
}

#[tokio::test(start_paused = true)]
async fn series_of_an_upstream_with_tunnels_stay_until_after_the_last() {
    let world = World::new(Pool::new(["ws://a:80"]).unwrap(), |layer| layer);
    let client = world.open("/echo").await;
    world.until("wsplice_tunnels", &GONE, 1.0).await;
    assert!(world.layer.pool().remove("a:80"));
    sleep(minutes(60)).await;
    assert_eq!(world.sum("wsplice_tunnels", &GONE), 1.0);
    drop(client);
    world.until("wsplice_tunnels", &GONE, 0.0).await;
    sleep(minutes(9)).await;
    assert!(world.has("wsplice_tunnels_closed_total", &GONE));
    sleep(minutes(1)).await;
    assert!(!world.has("wsplice_tunnels_closed_total", &GONE));
}

#[tokio::test(start_paused = true)]
async fn tunnels_to_an_upstream_that_left_stay_counted_beside_a_layer_without_any() {
    let world = World::new(Pool::new(["ws://a:80"]).unwrap(), |layer| layer);
    let other = ProxyLayer::new(world.layer.pool());
    let other = world.metrics.observe_as("chat", other).into_service();
    let client = world.open("/echo").await;
    world.until("wsplice_tunnels", &GONE, 1.0).await;
    assert!(world.layer.pool().remove("a:80"));
    sleep(minutes(60)).await;
    assert_eq!(world.sum("wsplice_tunnels", &GONE), 1.0);
    drop(client);
    world.until("wsplice_tunnels", &GONE, 0.0).await;
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_comes_back_in_time_keeps_its_series() {
    let world = world();
    world.upstreams.turn(Does::Answer(404));
    while !world.has(HANDSHAKES, &GONE) {
        world.open("/").await;
    }
    let pool = world.layer.pool();
    assert!(pool.remove("a:80"));
    sleep(minutes(5)).await;
    assert!(pool.add(Upstream::new("ws://a:80").unwrap()));
    sleep(minutes(30)).await;
    assert!(world.has(HANDSHAKES, &GONE));
}

#[tokio::test(start_paused = true)]
async fn counters_stay_when_their_layer_is_gone() {
    let world = World::new(Pool::new(["ws://a:80"]).unwrap(), |layer| layer);
    let mut client = world.open("/echo").await;
    client.send(0x82, &[0; 1000]).await;
    client.next().await.unwrap();
    client.close(1000).await;
    client.finish().await;
    world.until("wsplice_tunnels", &[], 0.0).await;
    let bytes = world.sum("wsplice_bytes_total", &[]);
    assert!(bytes > 2000.0);
    let registry = world.drop_proxy();
    while sum(&scrape(&registry), "wsplice_upstream_healthy", &[]) > 0.0 {
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(sum(&scrape(&registry), "wsplice_bytes_total", &[]), bytes);
}

#[tokio::test(start_paused = true)]
async fn layers_of_one_name_are_added_up() {
    let world = world();
    let other = world.metrics.observe_as("chat", world.layer.clone());
    let clients = (world.open("/echo").await, world.open("/echo").await);
    // The clone has the first observer too, and no clients.
    world.until("wsplice_tunnels", &[], 2.0).await;
    assert_eq!(world.sum("wsplice_upstream_healthy", &[]), 2.0);
    drop((clients, other));
}

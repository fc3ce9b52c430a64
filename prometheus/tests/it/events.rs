//! Metrics that events move, each by the event itself.

use std::time::Duration;

use tokio::time::sleep;
use wsplice::{
    Admission, KeepAlive, Limits, Pool, Retry, TunnelConfig, Upstream,
    discovery::{DiscoverError, PollSource},
    health::{
        Consecutive, Passive,
        probe::{ProbeSchedule, WebSocketProbe},
    },
    pool::{PoolBuilder, RetryBudget},
    tunnel::reattach::Reattach,
};

use super::kit::{BINARY, Does, TEXT, World};

const CHAT: (&str, &str) = ("pool", "chat");
const UPSTREAM: (&str, &str) = ("upstream", "a:80");

fn pool() -> PoolBuilder {
    Pool::new(["ws://a:80"]).unwrap()
}

fn world() -> World {
    World::new(pool(), |layer| layer)
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_moves_its_metrics_from_the_handshake_to_the_close() {
    let world = world();
    let mut client = world.open("/echo").await;
    assert_eq!(client.status, 101);
    world.until("wsplice_tunnels", &[CHAT, UPSTREAM], 1.0).await;
    client.send(TEXT, b"hello").await;
    client.next().await.unwrap();
    // Six bytes of header and mask there, two back.
    let up = [CHAT, ("direction", "client_to_upstream")];
    let down = [CHAT, ("direction", "upstream_to_client")];
    world.until("wsplice_bytes_total", &up, 11.0).await;
    world.until("wsplice_bytes_total", &down, 7.0).await;
    world.until("wsplice_frames_total", &up, 1.0).await;
    let accepted = [CHAT, UPSTREAM, ("outcome", "accepted"), ("status", "101")];
    assert_eq!(world.sum("wsplice_handshakes_total", &accepted), 1.0);
    let accepted = [CHAT, ("outcome", "accepted")];
    assert_eq!(
        world.sum("wsplice_handshake_duration_seconds_count", &accepted),
        1.0
    );
    assert_eq!(
        world.sum("wsplice_connect_duration_seconds_count", &[CHAT]),
        1.0
    );

    sleep(Duration::from_secs(3 * 3600)).await;
    client.send(BINARY, &[0; 300]).await;
    client.next().await.unwrap();
    client.close(4001).await;
    client.finish().await;
    world.until("wsplice_tunnels", &[CHAT, UPSTREAM], 0.0).await;
    let end = [
        CHAT,
        UPSTREAM,
        ("end", "closed"),
        ("initiator", "client"),
        ("code", "4xxx"),
    ];
    assert_eq!(world.sum("wsplice_tunnels_closed_total", &end), 1.0);
    let end = [CHAT, ("end", "closed")];
    let duration = world.sum("wsplice_tunnel_duration_seconds_sum", &end);
    assert!((10_800.0..10_801.0).contains(&duration), "{duration}");
    for (opcode, direction) in [("text", up[1]), ("binary", down[1]), ("close", up[1])] {
        let frames = [CHAT, direction, ("opcode", opcode)];
        assert_eq!(
            world.sum("wsplice_closed_tunnel_frames_total", &frames),
            1.0
        );
    }
    assert_eq!(world.sum("wsplice_frames_total", &up), 3.0);
}

#[tokio::test(start_paused = true)]
async fn ends_are_told_apart_by_reason_initiator_and_code() {
    let world = world();
    for (path, end, initiator, code) in [
        ("/vanish", "closed_without_frame", "upstream", "1011"),
        ("/close", "closed", "upstream", "1011"),
    ] {
        let mut client = world.open(path).await;
        client.send(TEXT, b"go").await;
        let (opcode, payload) = client.next().await.unwrap();
        assert_eq!(opcode, 0x88);
        client.send(opcode, &payload).await;
        client.finish().await;
        let labels = [("end", end), ("initiator", initiator), ("code", code)];
        world
            .until("wsplice_tunnels_closed_total", &labels, 1.0)
            .await;
    }
    drop(world.open("/echo").await);
    let labels = [("end", "closed_without_frame"), ("initiator", "client")];
    world
        .until("wsplice_tunnels_closed_total", &labels, 1.0)
        .await;
}

#[tokio::test(start_paused = true)]
async fn reattachments_move_the_tunnel_and_are_counted_by_their_outcome() {
    let both = Pool::new(["ws://a:80", "ws://b:80"]).unwrap();
    let world = World::new(both, |layer| layer.reattach(Reattach::new()));
    let mut client = world.open("/vanish").await;
    client.send(TEXT, b"go").await;
    let lost = [CHAT, ("outcome", "reattached")];
    world.until("wsplice_reattachments_total", &lost, 1.0).await;
    let reason = [lost[1], ("reason", "closed_without_frame")];
    assert_eq!(world.sum("wsplice_reattachments_total", &reason), 1.0);
    assert_eq!(world.sum("wsplice_tunnels", &[CHAT]), 1.0);
    assert!(world.sum("wsplice_reattachment_gap_seconds_sum", &[CHAT]) <= 0.5);

    world.upstreams.turn(Does::RefuseConnections);
    client.send(TEXT, b"go").await;
    let (opcode, payload) = client.next().await.unwrap();
    client.send(opcode, &payload).await;
    client.finish().await;
    let ended = [CHAT, ("outcome", "ended"), ("reason", "timeout")];
    world
        .until("wsplice_reattachments_total", &ended, 1.0)
        .await;
    world.until("wsplice_tunnels", &[CHAT], 0.0).await;
    for upstream in ["a:80", "b:80"] {
        let tunnels = [CHAT, ("upstream", upstream)];
        assert_eq!(world.sum("wsplice_tunnels", &tunnels), 0.0, "{upstream}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_rejections_and_failures_are_told_apart() {
    let world = World::new(pool(), |layer| layer.retry(Retry::new()));
    world.upstreams.turn(Does::Answer(404));
    assert_eq!(world.open("/echo").await.status, 404);
    let refused = [CHAT, UPSTREAM, ("outcome", "refused"), ("status", "404")];
    assert_eq!(world.sum("wsplice_handshakes_total", &refused), 1.0);

    world.upstreams.turn(Does::RefuseConnections);
    assert_eq!(world.open("/echo").await.status, 502);
    let failed = [CHAT, UPSTREAM, ("outcome", "failed"), ("status", "")];
    assert_eq!(world.sum("wsplice_handshakes_total", &failed), 1.0);
    let connect = [CHAT, UPSTREAM, ("error", "connect")];
    assert_eq!(world.sum("wsplice_handshake_errors_total", &connect), 1.0);

    world.layer.drain().refuse_new();
    assert_eq!(world.open("/echo").await.status, 503);
    let rejected = [CHAT, ("upstream", ""), ("outcome", "rejected")];
    assert_eq!(world.sum("wsplice_handshakes_total", &rejected), 1.0);
    let draining = [CHAT, ("error", "draining")];
    assert_eq!(world.sum("wsplice_handshake_errors_total", &draining), 1.0);
}

#[tokio::test(start_paused = true)]
async fn retries_are_counted_and_those_that_the_budget_denies() {
    let both = || Pool::new(["ws://a:80", "ws://b:80"]).unwrap();
    let world = World::new(both(), |layer| layer);
    world.upstreams.turn(Does::RefuseConnections);
    assert_eq!(world.open("/echo").await.status, 502);
    let kind = [CHAT, ("kind", "handshake")];
    assert_eq!(world.sum("wsplice_retries_total", &kind), 1.0);
    assert_eq!(world.sum("wsplice_retries_denied_total", &[CHAT]), 0.0);
    assert_eq!(world.get("/").await.status, 502);
    let kind = [CHAT, ("kind", "request")];
    assert_eq!(world.sum("wsplice_retries_total", &kind), 1.0);

    let none = RetryBudget::new().ratio(0.0).per_second(0);
    let world = World::new(both().retry_budget(none), |layer| layer);
    world.upstreams.turn(Does::RefuseConnections);
    assert_eq!(world.open("/echo").await.status, 502);
    assert_eq!(world.sum("wsplice_retries_denied_total", &[CHAT]), 1.0);
}

#[tokio::test(start_paused = true)]
async fn answered_pings_of_both_sides_have_their_round_trips() {
    let world = World::new(pool(), |layer| layer.keep_alive(KeepAlive::default()));
    let mut client = world.open("/echo").await;
    client.answer_ping().await;
    for side in ["client", "upstream"] {
        let side = [CHAT, ("side", side)];
        world
            .until("wsplice_ping_rtt_seconds_count", &side, 1.0)
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn limits_that_are_reached_are_counted_by_name() {
    let limits = [
        ("tunnels", Admission::new().max_tunnels(0)),
        ("handshakes", Admission::new().max_handshakes(0)),
        (
            "handshakes_per_second",
            Admission::new().handshakes_per_second(1),
        ),
    ];
    for (limit, admission) in limits {
        let world = World::new(pool().admission(admission), |layer| layer);
        while world.open("/echo").await.status == 101 {}
        let limit = [CHAT, ("limit", limit)];
        assert_eq!(world.sum("wsplice_limits_reached_total", &limit), 1.0);
    }
    let config = TunnelConfig::new().limits(Limits::new().message_size(10));
    let world = World::new(pool(), |layer| layer.tunnel(config));
    let mut client = world.open("/echo").await;
    client.send(TEXT, &[b'a'; 11]).await;
    client.finish().await;
    let limit = [CHAT, ("limit", "message_size")];
    world
        .until("wsplice_limits_reached_total", &limit, 1.0)
        .await;
    let end = [("end", "message_size_limit"), ("code", "1009")];
    assert_eq!(world.sum("wsplice_tunnels_closed_total", &end), 1.0);
}

#[tokio::test(start_paused = true)]
async fn the_queue_shows_its_length_and_how_long_handshakes_waited() {
    let wait = Duration::from_secs(20);
    let pool = pool()
        .admission(Admission::new().max_tunnels(1))
        .queue(5, wait);
    let world = World::new(pool, |layer| layer);
    let first = world.open("/echo").await;
    let free_up = async {
        world.until("wsplice_queue_length", &[CHAT], 1.0).await;
        sleep(Duration::from_secs(7)).await;
        drop(first);
    };
    let (second, ()) = tokio::join!(world.open("/echo"), free_up);
    assert_eq!(second.status, 101);
    let admitted = [CHAT, ("outcome", "admitted")];
    assert_eq!(
        world.sum("wsplice_queue_wait_seconds_count", &admitted),
        1.0
    );
    let waited = world.sum("wsplice_queue_wait_seconds_sum", &admitted);
    assert!((7.0..8.0).contains(&waited), "{waited}");
    assert_eq!(world.open("/echo").await.status, 503);
    let rejected = [CHAT, ("outcome", "rejected")];
    let waited = world.sum("wsplice_queue_wait_seconds_sum", &rejected);
    assert!((20.0..20.1).contains(&waited), "{waited}");
    assert_eq!(world.sum("wsplice_queue_length", &[CHAT]), 0.0);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_becomes_unhealthy_is_an_ejection() {
    let world = World::new(pool().health_policy(Passive::default().fails(1)), |layer| {
        layer
    });
    assert_eq!(
        world.sum("wsplice_upstream_healthy", &[CHAT, UPSTREAM]),
        1.0
    );
    assert_eq!(world.sum("wsplice_upstream_used", &[CHAT, UPSTREAM]), 1.0);
    world.upstreams.turn(Does::RefuseConnections);
    assert_eq!(world.open("/echo").await.status, 502);
    assert_eq!(world.sum("wsplice_ejections_total", &[CHAT, UPSTREAM]), 1.0);
    assert!(world.has("wsplice_upstream_used", &[CHAT, UPSTREAM]));
    assert_eq!(
        world.sum("wsplice_upstream_healthy", &[CHAT, UPSTREAM]),
        0.0
    );
    assert!(world.has("wsplice_upstream_healthy", &[CHAT, UPSTREAM]));
}

#[tokio::test(start_paused = true)]
async fn probes_are_counted_by_result() {
    let pool = pool()
        .probe(WebSocketProbe::get("/health"))
        .probe_schedule(ProbeSchedule::every(Duration::from_secs(10)))
        .health_policy(Consecutive::new());
    let world = World::new(pool, |layer| layer);
    let passed = [CHAT, UPSTREAM, ("result", "passed")];
    world.until("wsplice_probes_total", &passed, 2.0).await;
    assert_eq!(
        world.sum("wsplice_probe_duration_seconds_count", &[CHAT]),
        2.0
    );
    world.upstreams.turn(Does::Answer(500));
    let refused = [CHAT, UPSTREAM, ("result", "refused")];
    world.until("wsplice_probes_total", &refused, 1.0).await;
}

#[tokio::test(start_paused = true)]
async fn failures_of_discovery_are_counted_by_reason() {
    let world = World::new(Pool::from_upstreams([]), |layer| layer);
    let source = PollSource::new(Duration::from_secs(1), || async {
        Err::<Vec<Upstream>, _>(DiscoverError::failed("no answer"))
    });
    let _following = world.layer.pool().follow(source);
    let failed = [CHAT, ("reason", "failed")];
    world
        .until("wsplice_discovery_failures_total", &failed, 1.0)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_shows_what_it_waits_for() {
    let world = world();
    let (first, second) = (world.open("/echo").await, world.open("/echo").await);
    world.until("wsplice_tunnels", &[CHAT], 2.0).await;
    assert_eq!(world.sum("wsplice_draining", &[CHAT]), 0.0);
    assert_eq!(world.sum("wsplice_drain_remaining_tunnels", &[CHAT]), 0.0);
    let drain = world.layer.drain();
    let draining = tokio::spawn(async move { drain.run().await });
    world.until("wsplice_draining", &[CHAT], 1.0).await;
    assert_eq!(world.sum("wsplice_drain_remaining_tunnels", &[CHAT]), 2.0);
    drop(first);
    world
        .until("wsplice_drain_remaining_tunnels", &[CHAT], 1.0)
        .await;
    drop(second);
    draining.await.unwrap();
    assert_eq!(world.sum("wsplice_drain_remaining_tunnels", &[CHAT]), 0.0);
    let drained = [("end", "drained"), ("initiator", "proxy"), ("code", "1001")];
    assert_eq!(world.sum("wsplice_tunnels_closed_total", &drained), 2.0);
}

#[tokio::test(start_paused = true)]
async fn handshakes_in_progress_are_shown_while_an_upstream_thinks() {
    let world = world();
    world.upstreams.turn(Does::HangInHandshake);
    let progress = world.until("wsplice_handshakes_in_progress", &[CHAT, UPSTREAM], 1.0);
    let (client, ()) = tokio::join!(world.open("/echo"), progress);
    assert_eq!(client.status, 504);
    assert_eq!(
        world.sum("wsplice_handshakes_in_progress", &[CHAT, UPSTREAM]),
        0.0
    );
}

#[tokio::test(start_paused = true)]
async fn forwarded_requests_have_metrics_of_their_own() {
    let world = world();
    world.upstreams.turn(Does::Answer(201));
    assert_eq!(world.get("/page").await.status, 201);
    let responded = [CHAT, UPSTREAM, ("outcome", "responded"), ("status", "201")];
    assert_eq!(world.sum("wsplice_requests_total", &responded), 1.0);
    let responded = [CHAT, ("outcome", "responded")];
    assert_eq!(
        world.sum("wsplice_request_duration_seconds_count", &responded),
        1.0
    );
    assert_eq!(world.sum("wsplice_handshakes_total", &[CHAT]), 0.0);
    world.layer.drain().refuse_new();
    assert_eq!(world.get("/page").await.status, 503);
    let draining = [CHAT, ("error", "draining")];
    assert_eq!(world.sum("wsplice_request_errors_total", &draining), 1.0);
}

/// The list of metrics is the documentation; each row is moved by a test here.
#[test]
fn every_metric_of_the_list_has_a_test() {
    let rows = include_str!("../../metrics.md").lines();
    let names = rows.filter_map(|row| row.strip_prefix("| `wsplice_")?.split('`').next());
    let names: Vec<_> = names.collect();
    assert_eq!(names.len(), 30);
    for name in names {
        let tests = include_str!("events.rs");
        assert!(tests.contains(&format!("(\"wsplice_{name}")), "{name}");
    }
}

use tokio::time::{Instant, sleep};

use crate::{
    ErrorKind, Registry,
    frame::CloseCode,
    http::head::RequestHead,
    pool::{OnUpstreamLoss, Pool},
    tunnel::registry::{Command, RegistryGuard},
    upstream::admission::AdmissionKind,
    upstream::balance::Rendezvous,
    upstream::health::{
        Ejection, EventOrigin, HealthEvent, HealthEventKind,
        availability::{KeepLast, MaxEjectionPercent},
    },
};

use super::kit::{lease, member, named, open, pool, refuse, secs, used};

const AT_ONCE: OnUpstreamLoss = OnUpstreamLoss::Close {
    spread: std::time::Duration::ZERO,
};

/// Returns the reason and time of the tunnel's close command.
fn close_command(tunnel: &RegistryGuard) -> Option<(String, Instant)> {
    match tunnel.entry().take_command()? {
        Command::Close { frame, at, .. } => {
            assert_eq!(frame.code, CloseCode::SERVICE_RESTART);
            Some((frame.reason.to_string(), at.unwrap()))
        }
        other => panic!("{other:?}"),
    }
}

fn fail(pool: &Pool, name: &str) {
    for _ in 0..5 {
        refuse(pool, name);
    }
}

#[tokio::test(start_paused = true)]
async fn tunnels_of_an_unhealthy_upstream_are_closed_spread_over_a_while() {
    let pool = pool(&["a", "b"])
        .unhealthy_tunnels(OnUpstreamLoss::Close { spread: secs(60) })
        .build();
    let registry = Registry::new();
    let tunnels: Vec<_> = (0..200)
        .map(|number| open(&registry, &member(&pool, ["a", "b"][number % 2])))
        .collect();
    fail(&pool, "a");
    let now = Instant::now();
    let mut latest = 0;
    for (number, tunnel) in tunnels.iter().enumerate() {
        let told = close_command(tunnel);
        assert_eq!(told.is_some(), number % 2 == 0);
        if let Some((reason, at)) = told {
            assert_eq!(reason, "upstream unhealthy");
            assert!(at <= now + secs(60));
            latest = latest.max((at - now).as_secs());
        }
    }
    assert!(latest > 30, "spread, and not all at once");
}

/// Records 30 handshakes of each of these clients on each of two paths, which the upstream broke off.
fn break_off(pool: &Pool, name: &str, clients: &[&str]) {
    for _ in 0..30 {
        for client in clients {
            for path in ["/crash", "/other"] {
                let kind = HealthEventKind::HandshakeFailed(ErrorKind::NoResponse);
                let origin = EventOrigin::new(client.parse().ok(), path);
                let event = HealthEvent::new(Instant::now(), kind).from(origin);
                pool.state.observe(&member(pool, name), &event);
            }
        }
    }
}

/// Returns the upstreams that the hash gives to some keys.
async fn upstreams_of_keys(pool: &Pool) -> Vec<String> {
    let mut upstreams = Vec::new();
    for key in 0..20 {
        let request = http::Request::get(format!("/{key}")).body(()).unwrap();
        let head = RequestHead::from(&request);
        let lease = pool.lease(AdmissionKind::Tunnel, &head, &[]).await.unwrap();
        upstreams.push(lease.member().upstream().name().to_owned());
    }
    upstreams
}

#[tokio::test(start_paused = true)]
async fn the_news_of_two_clients_closes_no_tunnel_and_moves_no_key_and_that_of_three_does() {
    let pool = pool(&["a", "b"])
        .balance(Rendezvous::by_path())
        .unhealthy_tunnels(AT_ONCE)
        .build();
    let registry = Registry::new();
    let tunnel = open(&registry, &member(&pool, "a"));
    let before = upstreams_of_keys(&pool).await;
    assert!(before.contains(&"a:80".to_owned()));
    break_off(&pool, "a", &["10.0.0.1", "10.0.0.2"]);
    assert!(pool.snapshot()[0].is_doubted);
    assert_eq!(close_command(&tunnel), None);
    assert_eq!(upstreams_of_keys(&pool).await, before);

    break_off(&pool, "a", &["10.0.0.3"]);
    assert_eq!(close_command(&tunnel).unwrap().0, "upstream unhealthy");
    assert_eq!(upstreams_of_keys(&pool).await, ["b:80"; 20]);
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_upstream_in_use_keeps_its_tunnels_until_it_is_not() {
    let pool = pool(&["a"])
        .unhealthy_tunnels(AT_ONCE)
        .availability(KeepLast)
        .build();
    let registry = Registry::new();
    let tunnel = open(&registry, &member(&pool, "a"));
    fail(&pool, "a");
    assert_eq!(
        close_command(&tunnel),
        None,
        "clients would come back to the same one"
    );
    pool.add(named("b"));
    assert_eq!(close_command(&tunnel).unwrap().0, "upstream unhealthy");
}

/// The recovery of one upstream makes room for the ejection of another.
#[tokio::test(start_paused = true)]
async fn a_recovery_closes_the_tunnels_of_unhealthy_upstreams_alone() {
    let pool = pool(&["a", "b", "c"])
        .unhealthy_tunnels(AT_ONCE)
        .availability(MaxEjectionPercent::percent(34))
        .ejection(Ejection::new().jitter(0.0))
        .build();
    let registry = Registry::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| open(&registry, &member(&pool, name)));
    fail(&pool, "a");
    assert!(close_command(&a).is_some());
    sleep(secs(5)).await;
    let a = open(&registry, &member(&pool, "a"));
    fail(&pool, "b");
    assert_eq!(used(&pool), ["b", "c"], "one may be ejected");
    assert_eq!(close_command(&b), None);

    sleep(secs(6)).await;
    assert_eq!(used(&pool), ["a", "c"], "a is half-open");
    let reason = close_command(&b).map(|(reason, _)| reason);
    assert_eq!(reason.as_deref(), Some("upstream unhealthy"));
    assert_eq!(close_command(&a), None);
    assert_eq!(close_command(&c), None);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_under_way_when_its_upstream_is_lost_is_closed_too() {
    let pool = pool(&["a"]).removed_tunnels(AT_ONCE).build();
    let registry = Registry::new();
    let before = lease(&pool).await.unwrap();
    sleep(secs(1)).await;
    pool.remove("a:80");
    let tunnel = open(&registry, before.member());
    before.close_if_lost(tunnel.entry());
    assert_eq!(close_command(&tunnel).unwrap().0, "upstream removed");

    // The upstream is back, and later leases are not affected.
    sleep(secs(1)).await;
    pool.add(named("a"));
    let after = lease(&pool).await.unwrap();
    let tunnel = open(&registry, after.member());
    after.close_if_lost(tunnel.entry());
    assert_eq!(close_command(&tunnel), None);
}

#[tokio::test(start_paused = true)]
async fn by_default_all_tunnels_of_lost_upstreams_live_on() {
    let pool = pool(&["a", "b", "c"]).build();
    let registry = Registry::new();
    let tunnels = ["a", "b", "c"].map(|name| open(&registry, &member(&pool, name)));
    fail(&pool, "a");
    pool.remove("b:80");
    pool.drain("c:80", OnUpstreamLoss::Leave);
    assert!(tunnels.iter().all(|tunnel| close_command(tunnel).is_none()));
}

#[tokio::test(start_paused = true)]
async fn tls_or_not_the_same_port_is_two_upstreams() {
    use crate::{Upstream, net::connect::Address};

    let at = [Address::tcp("a", 443), Address::tls("a", 443)].map(Upstream::from_address);
    let pool = Pool::from_upstreams(at).removed_tunnels(AT_ONCE).build();
    let registry = Registry::new();
    let members = pool.state.member_set().members().to_vec();
    let [plain, tls] = [0, 1].map(|index| open(&registry, &members[index]));
    assert!(pool.remove("a:443"));
    assert_eq!(pool.len(), 1);
    assert!(close_command(&plain).is_some());
    assert!(close_command(&tls).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_resumed_upstream_keeps_the_tunnels_that_its_drain_has_not_closed_yet() {
    let pool = pool(&["a"]).build();
    let registry = Registry::new();
    let before = lease(&pool).await.unwrap();
    let tunnel = open(&registry, &member(&pool, "a"));
    let hour = OnUpstreamLoss::Close { spread: secs(3600) };
    pool.drain("a:80", hour);
    assert_eq!(close_command(&tunnel).unwrap().0, "upstream draining");
    assert!(pool.resume("a:80"));
    let command = tunnel.entry().take_command();
    assert!(matches!(command, Some(Command::KeepOpen)), "{command:?}");

    // Its handshake was under way during the whole drain.
    let late = open(&registry, before.member());
    before.close_if_lost(late.entry());
    assert_eq!(close_command(&late), None);
}

#[tokio::test(start_paused = true)]
async fn a_resumed_upstream_calls_off_no_close_of_another_issuer() {
    let pool = pool(&["a"]).build();
    let registry = Registry::new();
    let tunnel = open(&registry, &member(&pool, "a"));
    let drain = crate::Drain::new(&registry).spread(secs(20));
    let run = tokio::spawn(async move { drain.run().await });
    sleep(secs(1)).await;
    pool.drain("a:80", AT_ONCE);
    pool.resume("a:80");
    let command = tunnel.entry().take_command();
    assert!(
        matches!(command, Some(Command::Close { .. })),
        "{command:?}"
    );
    pool.drain("a:80", AT_ONCE);
    crate::Drain::new(&registry).resume();
    assert_eq!(close_command(&tunnel).unwrap().0, "upstream draining");
    drop(tunnel);
    run.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn tunnels_of_a_lost_upstream_are_ordered_to_move_over_a_while_or_else_to_close() {
    let spread = secs(60);
    let pool = pool(&["a", "b"])
        .removed_tunnels(OnUpstreamLoss::Move { spread })
        .build();
    let registry = Registry::new();
    let before = lease(&pool).await.unwrap();
    let tunnels: Vec<_> = (0..100).map(|_| open(&registry, before.member())).collect();
    let now = Instant::now();
    pool.remove(before.member().upstream().name());
    let late = open(&registry, before.member());
    before.close_if_lost(late.entry());
    let mut latest = now;
    for tunnel in tunnels.iter().chain([&late]) {
        let order = tunnel.entry().move_order().expect("an order to move");
        let Some(Command::Close { frame, at, .. }) = order.otherwise else {
            panic!("{order:?}");
        };
        assert_eq!(frame.reason, "upstream removed");
        assert_eq!(at, Some(order.at));
        assert!((now..=now + spread).contains(&order.at));
        latest = latest.max(order.at);
        let command = tunnel.entry().take_command();
        assert!(matches!(command, Some(Command::KeepOpen)), "{command:?}");
    }
    assert!(latest > now + spread / 2, "spread, and not all at once");
}

#[tokio::test(start_paused = true)]
async fn a_resumed_upstream_keeps_the_tunnels_that_its_drain_has_not_moved_yet() {
    let pool = pool(&["a"]).build();
    let registry = Registry::new();
    let tunnel = open(&registry, &member(&pool, "a"));
    pool.drain("a:80", OnUpstreamLoss::Move { spread: secs(60) });
    assert!(tunnel.entry().move_order().is_some());
    pool.resume("a:80");
    assert!(tunnel.entry().move_order().is_none());
}

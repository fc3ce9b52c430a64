use tokio::time::{Instant, sleep};

use crate::{
    Registry,
    frame::CloseCode,
    pool::{OnUpstreamLoss, Pool},
    tunnel::registry::{Command, Listed},
    upstream::health::KeepLast,
};

use super::kit::{lease, member, named, open, pool, refuse, secs};

const AT_ONCE: OnUpstreamLoss = OnUpstreamLoss::Close {
    spread: std::time::Duration::ZERO,
};

fn listed(pool: &Pool) -> Registry {
    let registry = Registry::new();
    pool.attach(&registry);
    registry
}

/// With what words the tunnel was told to close, and when.
fn told(tunnel: &Listed) -> Option<(String, Instant)> {
    match tunnel.entry().take_command()? {
        Command::Close { frame, at, .. } => {
            assert_eq!(frame.code, CloseCode::SERVICE_RESTART);
            Some((frame.reason.to_string(), at.unwrap()))
        }
        Command::Abort { .. } => panic!("aborted"),
    }
}

fn fail(pool: &Pool, name: &str) {
    for _ in 0..5 {
        refuse(pool, name);
    }
}

#[tokio::test(start_paused = true)]
async fn tunnels_of_an_unhealthy_upstream_are_closed_spread_over_a_while() {
    let pool = pool(&["a", "b"]).unhealthy_tunnels(OnUpstreamLoss::Close { spread: secs(60) });
    let registry = listed(&pool);
    let tunnels: Vec<_> = (0..200)
        .map(|number| open(&registry, member(&pool, ["a", "b"][number % 2])))
        .collect();
    fail(&pool, "a");
    let now = Instant::now();
    let mut latest = 0;
    for (number, tunnel) in tunnels.iter().enumerate() {
        let told = told(tunnel);
        assert_eq!(told.is_some(), number % 2 == 0);
        if let Some((reason, at)) = told {
            assert_eq!(reason, "upstream unhealthy");
            assert!(at <= now + secs(60));
            latest = latest.max((at - now).as_secs());
        }
    }
    assert!(latest > 30, "spread, and not all at once");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_used_though_unhealthy_keeps_its_tunnels_until_it_is_not() {
    let pool = pool(&["a"])
        .unhealthy_tunnels(AT_ONCE)
        .availability(KeepLast);
    let registry = listed(&pool);
    let tunnel = open(&registry, member(&pool, "a"));
    fail(&pool, "a");
    assert_eq!(
        told(&tunnel),
        None,
        "clients would come back to the same one"
    );
    pool.add(named("b"));
    assert_eq!(told(&tunnel).unwrap().0, "upstream unhealthy");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_was_under_way_when_its_upstream_was_lost_is_no_exception() {
    let pool = pool(&["a"]).removed_tunnels(AT_ONCE);
    let registry = listed(&pool);
    let before = lease(&pool).await.unwrap();
    sleep(secs(1)).await;
    pool.remove("a:80");
    let tunnel = open(&registry, before.member().clone());
    pool.close_if_lost(&before, tunnel.entry());
    assert_eq!(told(&tunnel).unwrap().0, "upstream removed");

    // It is back, and what comes then is not meant.
    sleep(secs(1)).await;
    pool.add(named("a"));
    let after = lease(&pool).await.unwrap();
    let tunnel = open(&registry, after.member().clone());
    pool.close_if_lost(&after, tunnel.entry());
    assert_eq!(told(&tunnel), None);
}

#[tokio::test(start_paused = true)]
async fn by_default_all_tunnels_of_lost_upstreams_live_on() {
    let pool = pool(&["a", "b", "c"]);
    let registry = listed(&pool);
    let tunnels = ["a", "b", "c"].map(|name| open(&registry, member(&pool, name)));
    fail(&pool, "a");
    pool.remove("b:80");
    pool.drain("c:80", OnUpstreamLoss::Leave);
    assert!(tunnels.iter().all(|tunnel| told(tunnel).is_none()));
}

#[tokio::test(start_paused = true)]
async fn tls_or_not_the_same_port_is_two_upstreams() {
    use crate::{Upstream, net::connect::Address};

    let at = [Address::tcp("a", 443), Address::tls("a", 443)].map(Upstream::from_address);
    let pool = Pool::from_upstreams(at).removed_tunnels(AT_ONCE);
    let registry = listed(&pool);
    let members = pool.state.roster().members().to_vec();
    let [plain, tls] = [0, 1].map(|index| open(&registry, members[index].clone()));
    assert!(pool.remove("a:443"));
    assert_eq!(pool.len(), 1);
    assert!(told(&plain).is_some());
    assert!(told(&tls).is_none());
}

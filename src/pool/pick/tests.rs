use std::time::Duration;

use http::Request;
use tokio_test::{assert_pending, assert_ready, task};

use super::*;
use crate::pool::PoolBuilder;
use crate::upstream::Upstream;
use crate::upstream::admission::{Admission, QueueLimits};
use crate::upstream::balance::{
    AnyBalance, First, LeastTunnels, LowestLatency, Random, Rendezvous, RoundRobin,
    WeightedRoundRobin,
};
use crate::upstream::health::{Consecutive, EventFilter, HealthEvent, HealthEventKind};

fn kind(result: Result<Lease, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[tokio::test(start_paused = true)]
async fn requests_do_not_wait_and_overtake_no_waiter_for_a_tunnel() {
    let (parts, ()) = Request::get("/").body(()).unwrap().into_parts();
    let head = RequestHead::from(&parts);
    let limits = Admission::new().max_tunnels(1).max_handshakes(1);
    let pool = Pool::new(["ws://a"]).unwrap().admission(limits);
    let pool = pool.queue(9, Duration::from_secs(60)).build();
    let tunnel = pool.lease(AdmissionKind::Tunnel, &head, &[]).await.unwrap();
    let mut waits = task::spawn(pool.lease(AdmissionKind::Tunnel, &head, &[]));
    assert_pending!(waits.poll());
    drop(tunnel);
    // The place is free, but reserved for the waiter.
    let mut request = task::spawn(pool.lease(AdmissionKind::Exchange, &head, &[]));
    let refused = assert_ready!(request.poll());
    assert_eq!(kind(refused), Some(ErrorKind::TooManyTunnels));
    assert!(assert_ready!(waits.poll()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn requests_are_not_held_up_by_handshakes() {
    let (parts, ()) = Request::get("/").body(()).unwrap().into_parts();
    let head = RequestHead::from(&parts);
    let limits = Admission::new().max_handshakes(1);
    let pool = Pool::new(["ws://a"]).unwrap().admission(limits);
    let pool = pool.queue(9, Duration::from_secs(60)).build();
    let _tunnel = pool.lease(AdmissionKind::Tunnel, &head, &[]).await.unwrap();
    let mut waits = task::spawn(pool.lease(AdmissionKind::Tunnel, &head, &[]));
    assert_pending!(waits.poll());
    let mut request = task::spawn(pool.lease(AdmissionKind::Exchange, &head, &[]));
    assert!(assert_ready!(request.poll()).is_ok());
}

/// Takes an upstream for each of these handles in turn, as often as the limits permit.
async fn admitted(handles: &[Pool]) -> Vec<Result<Lease, Error>> {
    let (parts, ()) = Request::get("/").body(()).unwrap().into_parts();
    let head = RequestHead::from(&parts);
    let mut leases = Vec::new();
    for handle in handles.iter().cycle().take(20) {
        leases.push(handle.lease(AdmissionKind::Tunnel, &head, &[]).await);
    }
    leases
}

#[tokio::test(start_paused = true)]
async fn routes_over_one_pool_share_its_limits_and_no_route_fails_for_another() {
    for limits in [
        Admission::new().max_tunnels(5),
        Admission::new().handshakes_per_second(5),
    ] {
        let pool = Pool::new(["ws://a", "ws://b"]).unwrap().admission(limits);
        let pool = pool.build();
        let rooms = AnyBalance::new(Rendezvous::by_path());
        let handles = [pool.clone(), pool.with_balance(rooms)];
        let leases = admitted(&handles).await;
        assert!(leases[..5].iter().all(Result::is_ok), "{limits:?}");
        assert!(leases[5..].iter().all(Result::is_err), "{limits:?}");
    }
    let pool = Pool::new(["ws://a"]).unwrap().queue(1, Duration::ZERO);
    let leases = admitted(&[pool.build()]).await;
    assert!(
        leases.iter().all(Result::is_ok),
        "without limits none waits"
    );
}

/// Returns the upstreams' tunnels after this many leases, by name.
async fn held(pool: &Pool, leases: usize) -> (Vec<usize>, Vec<Result<Lease, Error>>) {
    let (parts, ()) = Request::get("/").body(()).unwrap().into_parts();
    let head = RequestHead::from(&parts);
    let mut held = Vec::new();
    for _ in 0..leases {
        held.push(pool.lease(AdmissionKind::Tunnel, &head, &[]).await);
    }
    let tunnels = pool
        .snapshot()
        .iter()
        .map(|upstream| upstream.tunnels)
        .collect();
    (tunnels, held)
}

fn leveled(levels: &[u32], each: Admission) -> PoolBuilder {
    let upstreams = levels.iter().enumerate().map(|(index, level)| {
        let upstream = Upstream::new(&format!("ws://u{index}")).unwrap();
        upstream.priority(*level).admission(each)
    });
    Pool::from_upstreams(upstreams)
}

#[tokio::test(start_paused = true)]
async fn spares_get_requests_only_when_the_first_level_is_down_or_full() {
    fastrand::seed(30);
    let pool = leveled(&[1, 0, 0], Admission::new()).build();
    let (tunnels, _held) = held(&pool, 100).await;
    assert_eq!((tunnels[0], tunnels[1] + tunnels[2]), (0, 100));

    let two = Admission::new().max_tunnels(2);
    let pool = leveled(&[1, 0, 0], two).build();
    let (tunnels, leases) = held(&pool, 7).await;
    assert_eq!(tunnels, [2, 2, 2]);
    assert_eq!(
        kind(leases.into_iter().next_back().unwrap()),
        Some(ErrorKind::TooManyTunnels)
    );

    let pool = leveled(&[1, 0, 0], Admission::new());
    let policy = Consecutive::new().fails(1);
    let pool = pool
        .health_policy(policy.counting(EventFilter::handshakes()))
        .build();
    let failed = Arc::clone(&pool.state.member_set().members()[2]);
    let refused = HealthEventKind::ConnectFailed(ErrorKind::Connect);
    pool.state
        .observe(&failed, &HealthEvent::new(Instant::now(), refused));
    let (tunnels, _held) = held(&pool, 1_000).await;
    // Half of the first level is left, and takes 70 %.
    assert_eq!(tunnels[2], 0);
    assert!((240..360).contains(&tunnels[0]), "{tunnels:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_upstream_is_passed_over_and_found_again_when_it_has_room() {
    let two = Admission::new().max_tunnels(2);
    for policy in [
        AnyBalance::new(LeastTunnels::new()),
        AnyBalance::new(LeastTunnels::new().exact()),
        AnyBalance::new(LowestLatency::new()),
        AnyBalance::new(Random::new()),
        AnyBalance::new(RoundRobin::new()),
        AnyBalance::new(WeightedRoundRobin::new()),
        AnyBalance::new(First::new()),
        AnyBalance::new(Rendezvous::by_path()),
        AnyBalance::new(|_: &Candidates<'_>, _: &RequestHead<'_>| Some(0)),
    ] {
        let pool = leveled(&[0; 20], two).balance(policy.clone()).build();
        let (tunnels, mut leases) = held(&pool, 41).await;
        assert_eq!(tunnels, [2; 20], "{policy:?}");
        let refused = leases.pop().unwrap();
        assert_eq!(kind(refused), Some(ErrorKind::TooManyTunnels), "{policy:?}");
        let freed = leases.swap_remove(7).unwrap();
        let name = freed.member().shared_name();
        drop(freed);
        let (_, again) = held(&pool, 1).await;
        assert_eq!(
            again[0].as_ref().unwrap().member().shared_name(),
            name,
            "{policy:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_panics_costs_the_client_a_503_and_loses_no_lease() {
    let panics = |_: &Candidates<'_>, _: &RequestHead<'_>| -> Option<usize> { panic!("a bug") };
    for each in [Admission::new(), Admission::new().max_tunnels(2)] {
        let pool = leveled(&[0, 0], each)
            .admission(Admission::new().max_tunnels(1))
            .queue(9, Duration::from_secs(1))
            .balance(panics)
            .build();
        let (_, leases) = held(&pool, 3).await;
        for lease in leases {
            assert_eq!(kind(lease), Some(ErrorKind::NoUpstream));
        }
        let sound = pool.with_balance(AnyBalance::new(First::new()));
        let (tunnels, leases) = held(&sound, 1).await;
        assert!(leases[0].is_ok());
        assert_eq!(tunnels, [1, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn picks_while_all_rates_are_used_up_find_room_as_soon_as_there_is_some() {
    let pool = leveled(&[0; 4], Admission::new().handshakes_per_second(1)).build();
    let (_, leases) = held(&pool, 4).await;
    assert!(leases.iter().all(Result::is_ok));
    for _ in 0..3 {
        let (_, refused) = held(&pool, 1).await;
        assert_eq!(
            kind(refused.into_iter().next().unwrap()),
            Some(ErrorKind::TooManyHandshakesPerSecond)
        );
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    let (_, leases) = held(&pool, 5).await;
    assert_eq!(leases.iter().filter(|lease| lease.is_ok()).count(), 4);
    assert!(pool.add(Upstream::new("ws://new").unwrap()));
    let (_, leases) = held(&pool, 1).await;
    assert!(leases[0].is_ok(), "the new one has room");
}

#[tokio::test(start_paused = true)]
async fn a_route_with_limits_of_its_own_waits_in_a_queue_of_its_own() {
    let (parts, ()) = Request::get("/").body(()).unwrap().into_parts();
    let head = RequestHead::from(&parts);
    let pool = leveled(&[0, 0], Admission::new()).build();
    let route = pool.clone().with_limits(
        Admission::new().max_tunnels(1),
        QueueLimits {
            max_waiters: 1,
            max_wait: Duration::from_secs(5),
        },
    );
    let first = route
        .lease(AdmissionKind::Tunnel, &head, &[])
        .await
        .unwrap();
    let mut second = task::spawn(route.lease(AdmissionKind::Tunnel, &head, &[]));
    assert_pending!(second.poll());
    let mut third = task::spawn(route.lease(AdmissionKind::Tunnel, &head, &[]));
    let third = assert_ready!(third.poll());
    assert_eq!(kind(third), Some(ErrorKind::TooManyTunnels));
    let (_, others) = held(&pool, 9).await;
    assert!(others.iter().all(Result::is_ok), "other routes are free");
    drop(first);
    assert!(assert_ready!(second.poll()).is_ok());
    let refused = route.lease(AdmissionKind::Exchange, &head, &[]).await;
    assert!(refused.is_ok(), "the second has ended");
    let waited = route.lease(AdmissionKind::Tunnel, &head, &[]).await;
    assert_eq!(kind(waited), Some(ErrorKind::TooManyTunnels));
}

/// Policy that counts its calls.
#[derive(Debug, Default)]
struct Counted(std::sync::atomic::AtomicUsize);

impl Balance for Counted {
    fn pick(&self, candidates: &Candidates<'_>, head: &RequestHead<'_>) -> Option<usize> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        LeastTunnels::new().pick(candidates, head)
    }
}

#[tokio::test(start_paused = true)]
async fn upstreams_whose_rates_are_used_up_cost_a_pick_nothing() {
    fastrand::seed(3);
    let policy = Arc::new(Counted::default());
    let calls = || policy.0.swap(0, std::sync::atomic::Ordering::Relaxed);
    let upstreams = (0..100).map(|index| {
        let rate = if index == 0 { 1_000 } else { 1 };
        let upstream = Upstream::new(&format!("ws://u{index}")).unwrap();
        upstream.admission(Admission::new().handshakes_per_second(rate))
    });
    let pool = Pool::from_upstreams(upstreams).balance(Arc::clone(&policy));
    let pool = pool.build();
    let (_, leases) = held(&pool, 300).await;
    assert!(leases.iter().all(Result::is_ok));
    drop(leases);
    calls();
    let (tunnels, leases) = held(&pool, 10).await;
    assert!(leases.iter().all(Result::is_ok));
    assert_eq!((calls(), tunnels[0]), (10, 10));
    drop(leases);
    tokio::time::advance(Duration::from_secs(1)).await;
    let (tunnels, leases) = held(&pool, 50).await;
    assert!(leases.iter().all(Result::is_ok));
    assert_eq!(calls(), 50);
    assert!(tunnels[0] < 10, "the others have room again: {tunnels:?}");
}

//! Tests of the queue, on a paused clock and on real threads.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Request;
use tokio::{
    task::{JoinSet, yield_now},
    time::Instant,
};
use tokio_test::{assert_pending, assert_ready, task};

use crate::{
    error::{Error, ErrorKind},
    http::head::RequestHead,
    pool::{Lease, Pool, PoolBuilder},
    upstream::Upstream,
    upstream::admission::{Admission, AdmissionKind},
    upstream::balance::{AnyBalance, ByTag, Candidates},
};

use super::{GroupKey, Queue, RefusalScope, Refused, ticket::QueueTicket};

const LONG: Duration = Duration::from_secs(600);

type Leasing = Pin<Box<dyn Future<Output = Result<Lease, Error>> + Send>>;

fn one_tunnel() -> Admission {
    Admission::new().max_tunnels(1)
}

fn pool(admission: Admission) -> PoolBuilder {
    let pool = Pool::new(["ws://a", "ws://b"]).unwrap();
    pool.admission(admission).queue(1000, LONG)
}

/// Requests a lease for this path.
fn lease(pool: &Pool, path: &'static str) -> Leasing {
    lease_for(AdmissionKind::Tunnel, pool, path)
}

fn lease_for(kind: AdmissionKind, pool: &Pool, path: &'static str) -> Leasing {
    let pool = pool.clone();
    Box::pin(async move {
        let (parts, ()) = Request::get(path).body(()).unwrap().into_parts();
        pool.lease(kind, &RequestHead::from(&parts), &[]).await
    })
}

fn kind(result: Result<Lease, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_overtake_a_called_waiter() {
    let pool = pool(one_tunnel()).build();
    let holder = lease(&pool, "/").await.unwrap();
    let mut first = task::spawn(lease(&pool, "/"));
    assert_pending!(first.poll());
    drop(holder);
    let mut newcomer = task::spawn(lease(&pool, "/"));
    assert_pending!(newcomer.poll());
    let leased = assert_ready!(first.poll()).unwrap();
    assert_pending!(newcomer.poll());
    drop(leased);
    assert!(newcomer.is_woken());
    assert_ready!(newcomer.poll()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_order() {
    for limits in [
        one_tunnel(),
        Admission::new().max_handshakes(1),
        Admission::new().handshakes_per_second(1),
    ] {
        let pool = pool(limits).build();
        let (mut served, mut waiting) = (Vec::new(), JoinSet::new());
        for number in 0..100 {
            let leasing = lease(&pool, "/");
            waiting.spawn(async move { leasing.await.map(|lease| (number, lease)) });
            yield_now().await;
        }
        while let Some(leased) = waiting.join_next().await {
            let (number, lease) = leased.unwrap().unwrap();
            served.push(number);
            drop(lease);
        }
        assert!(served.iter().copied().eq(0..100), "{limits:?}: {served:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_at_the_retry_time_does_not_overtake_a_waiter() {
    let pool = pool(Admission::new().handshakes_per_second(1)).build();
    drop(lease(&pool, "/").await.unwrap());
    let mut first = task::spawn(lease(&pool, "/"));
    let mut second = task::spawn(lease(&pool, "/"));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    tokio::time::advance(Duration::from_secs(1)).await;
    let mut newcomer = task::spawn(lease(&pool, "/"));
    assert_pending!(newcomer.poll());
    assert_pending!(second.poll());
    assert_ready!(first.poll()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_leaves_passes_its_call_and_its_retry_time_on() {
    let pool = pool(one_tunnel()).build();
    let holder = lease(&pool, "/").await.unwrap();
    let mut first = task::spawn(lease(&pool, "/"));
    let mut second = task::spawn(lease(&pool, "/"));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    drop(holder);
    assert!(first.is_woken());
    drop(first);
    assert!(second.is_woken());
    assert_ready!(second.poll()).unwrap();

    // Only the first waiter has tried, and knows when a handshake may begin.
    let pool = self::pool(Admission::new().handshakes_per_second(1)).build();
    drop(lease(&pool, "/").await.unwrap());
    let mut first = task::spawn(lease(&pool, "/"));
    let second = lease(&pool, "/");
    assert_pending!(first.poll());
    let second = tokio::spawn(second);
    yield_now().await;
    drop(first);
    let began = Instant::now();
    second.await.unwrap().unwrap();
    assert!(began.elapsed() <= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_for_another_upstream_blocks_no_waiter() {
    let each = |name: &str| Upstream::new(name).unwrap().admission(one_tunnel());
    let pool = Pool::from_upstreams([each("ws://a"), each("ws://b")])
        .queue(1000, LONG)
        .balance(|all: &Candidates<'_>, head: &RequestHead<'_>| {
            let wanted = head.path().trim_start_matches('/');
            all.iter().position(|one| one.name().starts_with(wanted))
        })
        .build();
    let a = lease(&pool, "/a").await.unwrap();
    let b = lease(&pool, "/b").await.unwrap();
    let mut waiting = ["/a", "/b", "/b", "/a"].map(|path| task::spawn(lease(&pool, path)));
    for one in &mut waiting {
        assert_pending!(one.poll());
    }
    let mut poll_all = || {
        let mut served = Vec::new();
        // Polls like a runtime: every woken future, until none is woken.
        for _ in 0..10 {
            for (number, one) in waiting.iter_mut().enumerate() {
                if one.is_woken() {
                    if let std::task::Poll::Ready(leased) = one.poll() {
                        served.push((number, leased.unwrap()));
                    }
                }
            }
        }
        served
    };
    drop(b);
    let served = poll_all();
    assert_eq!(served.iter().map(|one| one.0).collect::<Vec<_>>(), [1]);
    drop(a);
    let more = poll_all();
    assert_eq!(more.iter().map(|one| one.0).collect::<Vec<_>>(), [0]);
    drop(served);
    let last = poll_all();
    assert_eq!(last.iter().map(|one| one.0).collect::<Vec<_>>(), [2]);
}

#[tokio::test(start_paused = true)]
async fn waiting_has_an_end_and_reports_the_limit() {
    for (limits, expected) in [
        (one_tunnel(), ErrorKind::TooManyTunnels),
        (
            Admission::new().max_handshakes(1),
            ErrorKind::TooManyHandshakes,
        ),
    ] {
        let pool = pool(limits).queue(2, Duration::from_secs(5)).build();
        let _holder = lease(&pool, "/").await.unwrap();
        let began = Instant::now();
        let first = tokio::spawn(lease(&pool, "/"));
        let second = tokio::spawn(lease(&pool, "/"));
        yield_now().await;
        assert_eq!(kind(lease(&pool, "/").await), expected, "the queue is full");
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(kind(first.await.unwrap()), expected);
        assert_eq!(kind(second.await.unwrap()), expected);
        let waited = began.elapsed();
        let bound = Duration::from_secs(5)..Duration::from_millis(5010);
        assert!(bound.contains(&waited), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiters_see_an_edit() {
    let pool = Pool::from_upstreams([Upstream::new("ws://a").unwrap().admission(one_tunnel())]);
    let pool = pool.queue(10, LONG).build();
    let _holder = lease(&pool, "/").await.unwrap();
    let waiting = [(); 3].map(|()| tokio::spawn(lease(&pool, "/")));
    yield_now().await;
    pool.add(Upstream::new("ws://b").unwrap());
    for one in waiting {
        let leased = one.await.unwrap().unwrap();
        assert_eq!(leased.member().upstream().name(), "b:80");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_fails_at_once_when_the_last_upstream_is_removed() {
    let pool = pool(one_tunnel()).build();
    let holder = lease(&pool, "/").await.unwrap();
    let waiting = [(); 3].map(|()| tokio::spawn(lease(&pool, "/")));
    yield_now().await;
    pool.replace([]);
    drop(holder);
    for one in waiting {
        assert_eq!(kind(one.await.unwrap()), ErrorKind::NoUpstream);
    }
}

/// On real threads every waiter is served, even if others leave the queue meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_waiter_is_forgotten_when_many_come_and_go_at_once() {
    static INSIDE: AtomicUsize = AtomicUsize::new(0);
    let pool = pool(Admission::new().max_tunnels(3)).build();
    let mut clients = JoinSet::new();
    for number in 0..64_u32 {
        let pool = pool.clone();
        clients.spawn(async move {
            for turn in 0..100 {
                let mut leasing = lease(&pool, "/");
                if (number + turn) % 5 == 0 {
                    // Leaves the queue early.
                    let _ = futures_util::poll!(&mut leasing);
                    continue;
                }
                let leased = leasing.await.unwrap();
                assert!(INSIDE.fetch_add(1, Ordering::SeqCst) < 3);
                yield_now().await;
                INSIDE.fetch_sub(1, Ordering::SeqCst);
                drop(leased);
            }
        });
    }
    let all = tokio::time::timeout(Duration::from_secs(60), clients.join_all());
    all.await.expect("somebody was forgotten");
    assert!(pool.state.queue().is_empty());
    assert_eq!(pool.state.counters().tunnels(), 0);
    assert_eq!(pool.state.counters().handshakes(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_upstream_or_a_panicking_policy_leaves_nothing_counted_and_no_waiter_stuck() {
    for (admission, path) in [
        (AdmissionKind::Tunnel, "/none"),
        (AdmissionKind::Tunnel, "/panic"),
        (AdmissionKind::Exchange, "/none"),
        (AdmissionKind::Exchange, "/panic"),
    ] {
        let waiter: Arc<Mutex<Option<task::Spawn<Leasing>>>> = Arc::default();
        let other = Arc::clone(&waiter);
        let policy = move |_: &Candidates<'_>, head: &RequestHead<'_>| {
            if head.path() == "/" {
                return Some(0);
            }
            // A newcomer arrives in this moment, and finds the only place taken.
            assert_pending!(other.lock().unwrap().as_mut().unwrap().poll());
            assert_ne!(head.path(), "/panic", "as it should");
            None
        };
        let pool = Pool::new(["ws://a"]).unwrap().balance(policy);
        let pool = pool.admission(one_tunnel()).queue(1, LONG).build();
        *waiter.lock().unwrap() = Some(task::spawn(lease(&pool, "/")));

        let leased = tokio::spawn(lease_for(admission, &pool, path)).await;
        assert_eq!(kind(leased.unwrap()), ErrorKind::NoUpstream, "{path}");
        let mut waiter = waiter.lock().unwrap().take().unwrap();
        assert!(waiter.is_woken(), "{admission:?} {path}");
        let lease = assert_ready!(waiter.poll()).unwrap();
        drop(lease);
        let counters = pool.state.counters();
        assert_eq!(
            (counters.tunnels(), counters.handshakes()),
            (0, 0),
            "{admission:?} {path}"
        );
    }
}

fn zoned(limits: Admission) -> Vec<Upstream> {
    let upstream = |zone: &str| {
        let upstream = Upstream::new(&format!("ws://{zone}")).unwrap();
        upstream.tag("zone", zone).admission(limits)
    };
    ["a", "b", "c"].into_iter().map(upstream).collect()
}

fn zone(head: &RequestHead<'_>) -> Option<String> {
    Some(head.path().trim_start_matches('/').to_owned())
}

fn names(leased: Result<Lease, Error>) -> String {
    leased
        .unwrap()
        .member()
        .upstream()
        .name()
        .replace(":80", "")
}

#[tokio::test(start_paused = true)]
async fn a_full_zone_does_not_lock_out_others() {
    let by_closure = |candidates: &Candidates<'_>, head: &RequestHead<'_>| {
        let zone = zone(head);
        let mut all = candidates.iter();
        all.position(|candidate| candidate.tag("zone") == zone.as_deref())
    };
    for policy in [
        AnyBalance::new(by_closure),
        AnyBalance::new(ByTag::new("zone", zone)),
    ] {
        let pool = Pool::from_upstreams(zoned(one_tunnel()));
        let pool = pool.balance(policy.clone()).queue(1, LONG).build();
        let holder = lease(&pool, "/a").await.unwrap();
        let mut waits = task::spawn(lease(&pool, "/a"));
        assert_pending!(waits.poll());
        let b = task::spawn(lease(&pool, "/b")).poll();
        assert_eq!(names(assert_ready!(b)), "b", "{policy:?}");
        let mut exchange = task::spawn(lease_for(AdmissionKind::Exchange, &pool, "/c"));
        assert_eq!(names(assert_ready!(exchange.poll())), "c", "{policy:?}");
        drop(holder);
        assert_eq!(names(assert_ready!(waits.poll())), "a", "{policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_has_room_is_served_while_another_waits() {
    let pool = Pool::from_upstreams(zoned(one_tunnel()));
    let pool = pool
        .balance(ByTag::new("zone", zone))
        .queue(100, LONG)
        .build();
    let holders = [lease(&pool, "/a").await, lease(&pool, "/b").await];
    let mut a = [(); 5].map(|()| task::spawn(lease(&pool, "/a")));
    a.iter_mut()
        .for_each(|waiter| assert_pending!(waiter.poll()));
    let mut b = [(); 5].map(|()| task::spawn(lease(&pool, "/b")));
    b.iter_mut()
        .for_each(|waiter| assert_pending!(waiter.poll()));
    let [_keeps_a, frees_b] = holders;
    let mut freed = frees_b.unwrap();
    for turn in 0..5 {
        drop(freed);
        // The first of the full zone is called first, and passes the call on.
        assert_pending!(a[0].poll());
        assert!(
            !a[1].is_woken(),
            "the others of the full zone are left alone"
        );
        for waiter in &mut b[turn + 1..] {
            assert_pending!(waiter.poll());
        }
        freed = assert_ready!(b[turn].poll()).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_costs_as_many_tries_as_there_are_groups_and_not_as_waiters() {
    static TRIES: AtomicUsize = AtomicUsize::new(0);
    let counted = |candidates: &Candidates<'_>, _: &RequestHead<'_>| {
        TRIES.fetch_add(1, Ordering::Relaxed);
        (0..candidates.len()).next()
    };
    let pool = Pool::from_upstreams(zoned(one_tunnel()));
    let policy = ByTag::new("zone", zone).among(counted);
    let pool = pool.balance(policy).queue(10_000, LONG).build();
    let paths = ["/a", "/b", "/c"];
    let mut held = Vec::new();
    for path in paths {
        held.push(lease(&pool, path).await.unwrap());
    }
    let mut waiting: Vec<_> = (0..3_000)
        .map(|number| task::spawn(lease(&pool, paths[number % 3])))
        .collect();
    waiting
        .iter_mut()
        .for_each(|waiter| assert_pending!(waiter.poll()));
    let mut poll_woken = || {
        let mut served = Vec::new();
        while let Some(index) = waiting.iter().position(task::Spawn::is_woken) {
            if let std::task::Poll::Ready(leased) = waiting[index].poll() {
                served.push(index);
                held.push(leased.unwrap());
            }
        }
        served
    };
    poll_woken();
    TRIES.store(0, Ordering::Relaxed);
    pool.state.queue().call();
    assert!(poll_woken().is_empty(), "there is no room");
    // The policy is called twice for each try: with the limits, and without.
    let tries = TRIES.load(Ordering::Relaxed);
    assert!(tries <= 9, "{tries}");
}

/// A queue with a waiter of each of two routes, of which the first waits for an upstream of its own.
fn first_and_second(queue: &Queue) -> [QueueTicket<'_>; 2] {
    let join = |route| {
        let group = GroupKey::new(route, None, std::iter::empty());
        queue.join(group, 9, None).unwrap()
    };
    let first = join(1);
    assert!(first.may_try());
    first.refused(&refused(RefusalScope::ThisWaiter));
    let second = join(2);
    assert!(first.may_try(), "a newcomer is an event");
    first.refused(&refused(RefusalScope::ThisWaiter));
    [first, second]
}

fn refused(scope: RefusalScope) -> Refused {
    Refused {
        wanted: (scope == RefusalScope::ThisWaiter).then(|| "a".into()),
        kind: ErrorKind::TooManyTunnels,
        scope,
        retry_at: None,
    }
}

#[test]
fn a_waiter_that_was_refused_for_the_place_of_another_try_is_called_after_that() {
    for (leaves, is_first_last) in [(false, false), (true, false), (false, true), (true, true)] {
        let queue = Queue::default();
        let [first, second] = first_and_second(&queue);
        assert!(second.may_try(), "it takes the last place for its try");
        // The first waiter's upstream has room meanwhile.
        queue.call();
        assert!(first.may_try());
        let refuse_first = || first.refused(&refused(RefusalScope::AllWaiters));
        if !is_first_last {
            refuse_first();
        }
        match leaves {
            false => drop(second.refused(&refused(RefusalScope::ThisWaiter))),
            true => drop(second),
        }
        if is_first_last {
            refuse_first();
        }
        assert!(first.may_try(), "the place is free again");
        first.refused(&refused(RefusalScope::AllWaiters));
        assert!(!first.may_try(), "once");
    }
}

#[test]
fn a_waiter_that_is_refused_beside_one_that_was_called_does_not_call_itself() {
    let queue = Queue::default();
    let [first, second] = first_and_second(&queue);
    // The second is called, but an event calls the first before it has begun.
    queue.call();
    assert!(!second.may_try());
    for _ in 0..2 {
        assert!(first.may_try());
        first.refused(&refused(RefusalScope::AllWaiters));
        assert!(!first.may_try(), "it calls itself");
        queue.call();
    }
    assert!(first.may_try());
    first.refused(&refused(RefusalScope::ThisWaiter));
    assert!(second.may_try());
}

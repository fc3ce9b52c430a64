//! Retries at another upstream, and their cost in attempts and time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::io::AsyncReadExt;
use wsplice::{
    Error, Observer, Pool, Retry,
    balance::{First, RoundRobin},
    observe::RequestInfo,
    pool::{RetryBudget, RetryOn},
};

use super::clock_upstreams::{Does, Got, World, crowd, shake_hands};

const CLIENTS: usize = 200;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Everything that may be tried again is.
fn eager() -> Retry {
    Retry::new()
        .attempts(3)
        .on([502, 503, 504].map(RetryOn::Status))
        .on([RetryOn::Timeout, RetryOn::InvalidResponse])
}

fn count(got: &[Got], status: u16) -> usize {
    got.iter().filter(|got| got.status == status).count()
}

/// Of two upstreams one fails: 200 clients at once get through, and so do 200 more, which the
/// failing one's health keeps away from it by then.
async fn gets_everyone_through(does: Does, within: Duration) {
    let world = World::of([does, Does::Accept]);
    let pool = world.pool().build();
    let proxy = world.proxy(&pool, |layer| layer.retry(eager()));
    let first = crowd(&proxy, CLIENTS).await;
    assert_eq!(
        count(&first, 101),
        CLIENTS,
        "{does:?}: {:?}",
        pool.retries()
    );
    assert!(first.iter().all(|got| got.after <= within), "{does:?}");
    assert!(world.asked("a:80") > 0, "{does:?} was tried at all");
    assert!(world.asked_in_all() <= CLIENTS + CLIENTS / 5 + 100);

    let (a, b) = (world.asked("a:80"), world.asked("b:80"));
    let second = crowd(&proxy, CLIENTS).await;
    assert_eq!(count(&second, 101), CLIENTS);
    assert_eq!(world.asked("a:80"), a, "{does:?}: left out by now");
    assert_eq!(world.asked("b:80"), b + CLIENTS);
    assert!(second.iter().all(|got| got.after == Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn with_two_upstreams_and_one_refusing_connections_everyone_gets_through() {
    gets_everyone_through(Does::RefuseConnections, ms(0)).await;
}

#[tokio::test(start_paused = true)]
async fn with_two_upstreams_and_one_hanging_in_connect_everyone_gets_through() {
    gets_everyone_through(Does::HangInConnect, ms(3001)).await;
}

#[tokio::test(start_paused = true)]
async fn with_two_upstreams_and_one_hanging_in_the_handshake_everyone_gets_through() {
    gets_everyone_through(Does::HangInHandshake, ms(10_001)).await;
}

#[tokio::test(start_paused = true)]
async fn with_two_upstreams_and_one_hanging_up_everyone_gets_through() {
    gets_everyone_through(Does::HangUp, ms(0)).await;
}

#[tokio::test(start_paused = true)]
async fn with_two_upstreams_and_one_answering_502_everyone_gets_through() {
    gets_everyone_through(Does::Answer(502), ms(0)).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_upstream_that_is_still_healthy_costs_no_client_anything() {
    let world = World::of([Does::RefuseConnections, Does::Accept]);
    let blind = wsplice::health::Consecutive::new().fails(u32::MAX);
    let pool = world
        .pool()
        .balance(First::new())
        .health_policy(blind)
        .build();
    let proxy = world.proxy(&pool, |layer| layer);
    let got = crowd(&proxy, 800).await;
    assert_eq!(count(&got, 101), 800, "{:?}", pool.retries());
    assert_eq!(world.asked("a:80"), 800);
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_is_not_sent_again_unless_asked_for() {
    for (does, status) in [(Does::HangInHandshake, 504), (Does::Answer(503), 503)] {
        let world = World::of([does, Does::Accept]);
        let proxy = world.proxy(&world.pool().balance(First::new()).build(), |layer| layer);
        assert_eq!(shake_hands(proxy).await.status, status);
        assert_eq!(world.asked("b:80"), 0, "{does:?}");
    }
}

/// By default: an upstream that crashes or restarts fails no client.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_broke_before_a_byte_of_a_response_goes_on_to_another_upstream() {
    let world = World::of([Does::HangUp, Does::Accept]);
    let pool = world.pool().balance(First::new()).build();
    let proxy = world.proxy(&pool, |layer| layer);
    assert_eq!(shake_hands(proxy).await.status, 101);
    assert_eq!((world.asked("a:80"), world.asked("b:80")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_makes_upstreams_hang_up_reaches_two_of_them_at_most() {
    for (all, asked) in [
        ([Does::HangUp; 4], 2),
        // Nothing is sent where connecting fails, so that does not count.
        (
            [
                Does::HangUp,
                Does::RefuseConnections,
                Does::HangUp,
                Does::Accept,
            ],
            3,
        ),
    ] {
        let world = World::of(all);
        let pool = world.pool().balance(First::new()).build();
        let proxy = world.proxy(&pool, |layer| layer.retry(eager().attempts(9)));
        assert_eq!(shake_hands(proxy).await.status, 502);
        assert_eq!(world.asked_in_all(), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_was_not_named_is_passed_on() {
    let world = World::of([Does::Answer(500), Does::Accept]);
    let pool = world.pool().balance(First::new()).build();
    let proxy = world.proxy(&pool, |layer| layer.retry(eager()));
    assert_eq!(shake_hands(proxy).await.status, 500);
    assert_eq!(world.asked_in_all(), 1);
}

#[tokio::test(start_paused = true)]
async fn when_all_refuse_the_client_gets_the_last_ones_answer() {
    let world = World::of([Does::Answer(502), Does::Answer(503), Does::Answer(504)]);
    let pool = world.pool().balance(First::new()).build();
    let proxy = world.proxy(&pool, |layer| layer.retry(eager().attempts(9)));
    let mut got = shake_hands(proxy).await;
    assert_eq!(got.status, 504);
    let mut body = [0; 4];
    got.stream.read_exact(&mut body).await.unwrap();
    assert_eq!(&body, b"c:80");
    while world.open("a:80") + world.open("b:80") > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_upstreams_are_tried_than_asked_for() {
    let all = [
        Does::HangUp,
        Does::RefuseConnections,
        Does::Answer(502),
        Does::Accept,
    ];
    let world = World::of(all);
    let pool = world.pool().balance(First::new()).build();
    let proxy = world.proxy(&pool, |layer| layer.retry(eager()));
    assert_eq!(shake_hands(proxy).await.status, 502);
    assert_eq!((world.asked_in_all(), world.asked("d:80")), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn all_attempts_together_have_their_time() {
    let world = World::of([Does::HangInConnect, Does::HangInConnect, Does::Accept]);
    let pool = world.pool().balance(First::new()).build();
    let (events, observer) = RecordingObserver::new();
    let retry = eager().within(ms(5000));
    let proxy = world.proxy(&pool, |layer| layer.retry(retry).observer(observer));
    let got = shake_hands(proxy).await;
    assert_eq!(got.status, 504);
    assert!((ms(5000)..ms(5010)).contains(&got.after), "{:?}", got.after);
    assert_eq!(world.asked("c:80"), 0);
    assert_eq!(
        events.all(),
        [
            "failed a:80: connecting to the upstream timed out: after 3s",
            "attempt 2: b:80",
            "failed b:80: all attempts together took too long: after 5s",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_was_cut_off_for_the_time_that_others_took_stays_healthy() {
    let world = World::of([Does::HangInConnect, Does::HangInHandshake]);
    let pool = world.pool().balance(First::new()).build();
    let proxy = world.proxy(&pool, |layer| layer.retry(eager().within(ms(3500))));
    assert_eq!(count(&crowd(&proxy, 50).await, 504), 50);
    let usable: Vec<_> = pool
        .snapshot()
        .iter()
        .map(|upstream| upstream.health.is_usable())
        .collect();
    assert_eq!(usable, [false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_full_outage_is_not_multiplied() {
    let outages = [
        Does::RefuseConnections,
        Does::HangInConnect,
        Does::HangInHandshake,
        Does::HangUp,
        Does::Answer(502),
    ];
    for does in outages {
        let world = World::of([does; 5]);
        let pool = world.pool().balance(RoundRobin::new()).build();
        let proxy = world.proxy(&pool, |layer| {
            layer.retry(eager().attempts(5).within(Duration::from_secs(60)))
        });
        let got = crowd(&proxy, 400).await;
        assert_eq!(count(&got, 101), 0);
        // A fifth of the clients, and ten for each of ten seconds. Handshakes time out after ten
        // seconds, so there each further attempt finds another ten seconds' worth.
        let retries = match does {
            Does::HangInHandshake => 80 + 4 * 100,
            // Which count a fifth.
            Does::RefuseConnections | Does::HangInConnect => 5 * (80 + 100),
            _ => 80 + 100,
        };
        let most = 400 + retries;
        let asked = world.asked_in_all();
        assert!((500..=most).contains(&asked), "{does:?}: {asked}");
        let retries = pool.retries();
        assert_eq!(retries.made as usize, asked - 400, "{does:?}");
        assert!(retries.denied > 0, "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_outage_is_over_everyone_gets_through_again() {
    let names = ["a:80", "b:80", "c:80"];
    let world = World::of([Does::RefuseConnections; 3]);
    let proxy = world.proxy(&world.pool().build(), |layer| layer.retry(eager()));
    assert_eq!(count(&crowd(&proxy, CLIENTS).await, 502), CLIENTS);
    for name in names {
        world.turn(name, Does::Accept);
    }
    assert_eq!(count(&crowd(&proxy, CLIENTS).await, 101), CLIENTS);
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_one_for_all_layers_of_a_pool() {
    let world = World::of([Does::HangUp, Does::Accept]);
    let budget = RetryBudget::new().ratio(0.0).per_second(1);
    let pool = world
        .pool()
        .balance(First::new())
        .retry_budget(budget)
        // The health of the upstreams is not under test here.
        .health_policy(wsplice::health::Consecutive::new().fails(1000))
        .build();
    let proxies = [
        world.proxy(&pool, |layer| layer.retry(eager())),
        world.proxy(&pool.clone(), |layer| layer.retry(eager())),
    ];
    let mut through = 0;
    for turn in 0..20 {
        through += count(&crowd(&proxies[turn % 2], 1).await, 101);
    }
    assert_eq!(through, 10, "one for each of ten seconds");
    assert_eq!((pool.retries().left, pool.retries().denied), (0, 10));
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(pool.retries().left, 10);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_finds_no_upstream_costs_nothing() {
    let world = World::of([Does::RefuseConnections]);
    let pool = world.pool().build();
    let proxy = world.proxy(&pool, |layer| layer.retry(eager()));
    assert_eq!(count(&crowd(&proxy, 10).await, 502), 10);
    let retries = pool.retries();
    assert_eq!((retries.made, retries.denied, retries.left), (0, 0, 102));
}

#[tokio::test(start_paused = true)]
async fn the_same_upstream_is_not_tried_again_because_it_was_edited_in_between() {
    let world = World::of([Does::RefuseConnections, Does::RefuseConnections]);
    let pool = world.pool().balance(First::new()).build();
    let observer = Editor(pool.clone());
    let proxy = world.proxy(&pool, |layer| layer.observer(observer));
    assert_eq!(shake_hands(proxy).await.status, 502);
    assert_eq!((world.asked("a:80"), world.asked("b:80")), (1, 1));
}

/// Observer that records events as text.
#[derive(Clone, Debug)]
struct RecordingObserver(Arc<Mutex<Vec<String>>>);

impl RecordingObserver {
    fn new() -> (Self, Self) {
        let events = Self(Arc::default());
        (events.clone(), events)
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for RecordingObserver {
    fn handshake_failed(&self, handshake: &RequestInfo<'_>, error: &Error) {
        let upstream = handshake.upstream.unwrap();
        self.0
            .lock()
            .unwrap()
            .push(format!("failed {upstream}: {error:#}"));
    }

    fn handshake_retried(&self, handshake: &RequestInfo<'_>, attempt: usize) {
        let upstream = handshake.upstream.unwrap();
        self.0
            .lock()
            .unwrap()
            .push(format!("attempt {attempt}: {upstream}"));
    }
}

/// Removes every upstream that fails, and adds it again with another weight.
#[derive(Debug)]
struct Editor(Pool);

impl Observer for Editor {
    fn handshake_failed(&self, handshake: &RequestInfo<'_>, _error: &Error) {
        let name = handshake.upstream.unwrap();
        assert!(self.0.remove(name));
        let upstream = wsplice::Upstream::new(&format!("ws://{name}")).unwrap();
        assert!(self.0.add(upstream.weight(7)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_its_client_did_not_wait_for_is_refunded() {
    use wsplice::{Admission, Upstream};
    let world = World::of([Does::RefuseConnections, Does::Accept]);
    let full = Admission::new().max_tunnels(0);
    let pool = Pool::from_upstreams([
        Upstream::new("ws://a").unwrap(),
        Upstream::new("ws://b").unwrap().admission(full),
    ]);
    let queue = Duration::from_secs(600);
    // Requests earn nothing, so that no more is left than at first.
    let budget = RetryBudget::new().ratio(0.0);
    let pool = pool.balance(First::new()).queue(9, queue);
    let pool = pool.retry_budget(budget).build();
    let proxy = world.proxy(&pool, |layer| layer);
    let left = pool.retries().left;
    for _ in 0..5 {
        let client = tokio::spawn(shake_hands(proxy.clone()));
        while pool.queue_len() == 0 {
            tokio::time::sleep(ms(1)).await;
        }
        assert_eq!(pool.retries().left, left - 1, "granted");
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());
        assert_eq!((pool.retries().made, pool.retries().left), (0, left));
        // The health of the upstream that refuses is not the subject.
        let healthy = wsplice::health::HealthControl::ForcedHealthy;
        pool.control_health("a:80", healthy);
    }
}

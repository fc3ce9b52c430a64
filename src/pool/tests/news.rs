//! What a pool learns and reports of its upstreams: policies that panic or call the pool, news of
//! upstreams that have left, counts.

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    ErrorKind, Upstream,
    error::Error,
    observe::{MembershipChange, Observer, QueueWait, UpstreamInfo},
    pool::{OnUpstreamLoss, Pool},
    upstream::admission::Admission,
    upstream::discovery::{DiscoverError, PollSource},
    upstream::health::{
        HealthControl, HealthEvaluator, HealthEvent, HealthEventKind, HealthPolicy,
        HealthTransition, Passive, UpstreamView, Verdict,
        availability::{Admitted, Availability, HealthCounts, UpstreamHealth},
        probe::ProbeSchedule,
    },
};

use super::kit::{
    ObserverLog, Script, fail, lease, member, named, pool, refuse, secs, start, states, used,
};

/// Evaluator, and availability policy, that calls the pool.
#[derive(Clone, Debug, Default)]
struct CallsPool(Arc<OnceLock<Pool>>);

impl CallsPool {
    fn call(&self) {
        if let Some(pool) = self.0.get() {
            pool.add(named("z"));
            let _ = pool.snapshot();
        }
    }
}

impl HealthEvaluator for CallsPool {
    fn observe(&mut self, _event: &HealthEvent) {
        self.call();
    }

    fn verdict(&mut self, _now: Instant) -> Verdict {
        Verdict::Healthy
    }
}

impl Availability for CallsPool {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        self.call();
        Admitted::healthy(pool)
    }
}

#[tokio::test(start_paused = true)]
async fn an_evaluator_that_calls_the_pool_is_refused_and_costs_no_client_anything() {
    let policy = CallsPool::default();
    let pool = pool(&["a"]).health_policy(policy.clone()).build();
    policy.0.set(pool.clone()).unwrap();
    let lease = lease(&pool).await.unwrap();
    lease.record_failure(&Error::new(ErrorKind::NoResponse), Instant::now());
    assert_eq!(pool.snapshot()[0].counters.failures.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_availability_policy_may_call_and_change_the_pool() {
    let policy = CallsPool::default();
    let pool = pool(&["a", "b"]).availability(policy.clone()).build();
    policy.0.set(pool.clone()).unwrap();
    assert!(pool.add(named("c")));
    assert_eq!(used(&pool), ["a", "b", "c", "z"]);
    assert!(lease(&pool).await.is_ok());
}

/// Availability policy that waits for a message to go on.
#[derive(Debug)]
struct Waits(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

impl Availability for Waits {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        if pool.len() == 3 {
            let _ = self.0.lock().unwrap().recv_timeout(Duration::from_secs(20));
        }
        Admitted::all(pool)
    }
}

#[test]
fn a_slow_availability_policy_holds_up_neither_picks_nor_changes() {
    let (go_on, waits) = std::sync::mpsc::channel();
    let pool = pool(&["a", "b"]).availability(Waits(waits.into())).build();
    let changed = pool.clone();
    let slow = std::thread::spawn(move || changed.add(named("c")));
    while pool.len() < 3 {
        std::thread::yield_now();
    }
    assert_eq!(used(&pool), ["a", "b"]);
    assert!(pool.remove("a:80"));
    assert_eq!(used(&pool), ["b"]);
    go_on.send(()).unwrap();
    assert!(slow.join().unwrap());
    assert_eq!(used(&pool), ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_reported_of_the_health_of_an_upstream_that_has_left() {
    let pool = pool(&["a", "b"]).build();
    let gone = member(&pool, "a");
    pool.remove("a:80");
    let log = ObserverLog::of(&pool);
    let kind = HealthEventKind::ConnectFailed(ErrorKind::Connect);
    pool.state
        .observe(&gone, &HealthEvent::new(Instant::now(), kind));
    assert!(log.read().is_empty());
    refuse(&pool, "b");
    assert_eq!(log.read().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_was_removed_in_a_drain_and_added_again_is_not_drained() {
    let pool = pool(&["a", "b"]).build();
    assert!(pool.drain("a:80", OnUpstreamLoss::Leave));
    pool.remove("a:80");
    pool.add(named("a"));
    assert_eq!(used(&pool), ["b", "a"]);
}

#[tokio::test(start_paused = true)]
async fn shortages_and_failed_look_ups_make_other_upstreams_preferable_and_eject_none() {
    for kind in [ErrorKind::Resolve, ErrorKind::LocalShortage] {
        let pool = pool(&["a", "b"]).build();
        let mut failed = 0;
        for _ in 0..100 {
            let lease = lease(&pool).await.unwrap();
            if lease.member().upstream().name() == "a:80" {
                failed += 1;
                lease.record_failure(&Error::new(kind), Instant::now());
            }
        }
        assert_eq!(failed, 1, "{kind:?}");
        assert_eq!(states(&pool), ["healthy", "healthy"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_operator_takes_an_upstream_out_and_gives_it_back() {
    let pool = pool(&["a"]).build();
    assert!(!pool.control_health("x:80", HealthControl::ForcedUnhealthy));
    assert!(pool.control_health("a:80", HealthControl::ForcedUnhealthy));
    assert!(used(&pool).is_empty());
    assert_eq!(lease(&pool).await.unwrap_err(), ErrorKind::NoUpstream);
    assert!(pool.control_health("a:80", HealthControl::ForcedHealthy));
    refuse(&pool, "a");
    assert_eq!(states(&pool), ["healthy"]);
    assert!(pool.control_health("a:80", HealthControl::Auto));
    refuse(&pool, "a");
    assert!(states(&pool)[0].starts_with("unhealthy"));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_reports_and_ejects_none() {
    let pool = pool(&["a", "b"]).report_health_only().build();
    let log = ObserverLog::of(&pool);
    refuse(&pool, "a");
    assert_eq!(log.read().len(), 1);
    assert_eq!(used(&pool), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn counts_tell_what_an_upstream_did() {
    let pool = pool(&["a"]).build();
    let now = Instant::now();
    let first = lease(&pool).await.unwrap();
    let latency = Duration::ZERO;
    first.record_event(Some(HealthEventKind::Accepted { latency }), now);
    let second = lease(&pool).await.unwrap();
    second.record_failure(&Error::new(ErrorKind::Connect), now);
    let third = lease(&pool).await.unwrap();
    third.record_failure(&Error::new(ErrorKind::Connect), now);
    let status = http::StatusCode::BAD_GATEWAY;
    third.record_event(Some(HealthEventKind::Refused { status }), now);
    let counters = pool.snapshot().remove(0).counters;
    assert_eq!(counters.attempts, 3);
    assert_eq!(counters.tunnels_opened, 1);
    assert_eq!(counters.failures, [(ErrorKind::Connect, 2)]);
    assert_eq!((counters.refusals, counters.ejections), (1, 1));
}

/// Observer that records which pool each of its news is of.
#[derive(Debug, Default)]
struct PoolLog(Mutex<Vec<String>>);

impl PoolLog {
    fn write(&self, news: &str, pool: Option<&str>) {
        let line = format!("{news} in {}", pool.unwrap_or("an unnamed pool"));
        self.0.lock().unwrap().push(line);
    }
}

impl Observer for PoolLog {
    fn health_changed(&self, upstream: &UpstreamInfo<'_>, _: &HealthTransition) {
        self.write(&format!("{} ejected", upstream.name), upstream.pool);
    }

    fn probe_finished(&self, upstream: &UpstreamInfo<'_>, _: &HealthEvent) {
        self.write(&format!("{} probed", upstream.name), upstream.pool);
    }

    fn upstream_changed(&self, upstream: &UpstreamInfo<'_>, change: MembershipChange) {
        self.write(&format!("{} {change}", upstream.name), upstream.pool);
    }

    fn discovery_failed(&self, pool: Option<&str>, _: &DiscoverError) {
        self.write("discovery failed", pool);
    }

    fn handshake_queued(&self, wait: &QueueWait<'_>) {
        self.write("waited", wait.pool);
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_of_two_pools_sees_which_one_its_news_is_of() {
    let log = Arc::new(PoolLog::default());
    let observer: Arc<dyn Observer> = Arc::clone(&log) as _;
    for name in [Some("chat"), Some("feed"), None] {
        let mut pool = pool(&["a"])
            .probe(Script::default())
            .probe_schedule(ProbeSchedule::every(secs(3600)))
            .admission(Admission::new().max_tunnels(1))
            .queue(1, secs(1));
        if let Some(name) = name {
            pool = pool.name(name);
        }
        let pool = pool.build();
        pool.attach_observer(&observer);
        start(&pool);
        tokio::time::sleep(secs(3601)).await;
        pool.add(named("b"));
        let _full = lease(&pool).await.unwrap();
        assert!(lease(&pool).await.is_err());
        refuse(&pool, "a");
        let failing = PollSource::new(secs(60), || async {
            Err::<Vec<Upstream>, _>(DiscoverError::failed("no"))
        });
        let _follow = pool.follow(failing);
        tokio::time::sleep(secs(1)).await;
        let of = name.unwrap_or("an unnamed pool");
        let mut news = std::mem::take(&mut *log.0.lock().unwrap());
        news.sort();
        news.dedup();
        let expected = [
            "a:80 ejected",
            "a:80 probed",
            "b:80 added",
            "b:80 probed",
            "discovery failed",
            "waited",
        ];
        assert_eq!(news, expected.map(|news| format!("{news} in {of}")));
    }
}

/// Policy that is strict with one upstream.
#[derive(Debug)]
struct StrictWith(&'static str);

impl HealthPolicy for StrictWith {
    fn evaluator(&self) -> Box<dyn HealthEvaluator> {
        Passive::default().fails(5).evaluator()
    }

    fn for_upstream(&self, upstream: &UpstreamView<'_>) -> Option<Arc<dyn HealthPolicy>> {
        (upstream.name() == self.0).then(|| Arc::new(Passive::default().fails(2)) as _)
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_has_thresholds_of_its_own_for_one_upstream() {
    let alone = pool(&["a", "b"]).health_policy(StrictWith("b:80"));
    let beside_a_probe = pool(&["a", "b"])
        .probe(Script::default())
        .passive_policy(StrictWith("b:80"));
    for pool in [alone.build(), beside_a_probe.build()] {
        for name in ["a", "b"] {
            fail(&pool, name);
            fail(&pool, name);
        }
        let unhealthy: Vec<_> = states(&pool)
            .iter()
            .map(|state| state.starts_with("unhealthy"))
            .collect();
        assert_eq!(unhealthy, [false, true]);
    }
}

/// Evaluator that does something with the pool at each event.
#[derive(Clone, Debug)]
struct DoesAtEvents {
    pool: Arc<OnceLock<Pool>>,
    does: fn(&Pool),
}

impl DoesAtEvents {
    fn new(does: fn(&Pool)) -> Self {
        Self {
            pool: Arc::default(),
            does,
        }
    }
}

impl HealthEvaluator for DoesAtEvents {
    fn observe(&mut self, _event: &HealthEvent) {
        if let Some(pool) = self.pool.get() {
            (self.does)(pool);
        }
    }

    fn verdict(&mut self, _now: Instant) -> Verdict {
        Verdict::Healthy
    }
}

/// Lets the pool's evaluator of `a` take in an event; false if it panics.
fn observe_event(pool: &Pool) -> bool {
    let kind = HealthEventKind::ConnectFailed(ErrorKind::Connect);
    let event = HealthEvent::new(Instant::now(), kind);
    let a = member(pool, "a");
    let observe = std::panic::AssertUnwindSafe(|| pool.state.observe(&a, &event));
    std::panic::catch_unwind(observe).is_ok()
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_to_an_evaluator_changes_nothing() {
    let calls: [fn(&Pool); 7] = [
        |pool| assert!(pool.add(named("c"))),
        |pool| assert!(pool.remove("b:80")),
        |pool| assert!(pool.drain("b:80", OnUpstreamLoss::Leave)),
        |pool| assert!(pool.resume("d:80")),
        |pool| assert!(pool.control_health("b:80", HealthControl::ForcedUnhealthy)),
        |pool| assert!(pool.replace([named("e")])),
        |pool| drop(pool.snapshot()),
    ];
    for (index, does) in calls.into_iter().enumerate() {
        let policy = DoesAtEvents::new(does);
        let pool = pool(&["a", "b", "d"]).health_policy(policy.clone()).build();
        assert!(pool.drain("d:80", OnUpstreamLoss::Leave));
        policy.pool.set(pool.clone()).unwrap();
        let log = ObserverLog::of(&pool);
        assert!(!observe_event(&pool), "call {index}");
        pool.state.notifier.notify();
        assert_eq!(used(&pool), ["a", "b"], "call {index}");
        assert_eq!((pool.len(), log.read()), (3, Vec::new()), "call {index}");
        assert_eq!(states(&pool)[1], "healthy", "call {index}");
        assert!(pool.resume("d:80"), "call {index}");
    }
}

/// Availability policy that does something with the pool while that is locked.
#[derive(Clone, Debug)]
struct DoesUnderLock {
    pool: Arc<OnceLock<Pool>>,
    does: fn(&Pool),
}

impl Availability for DoesUnderLock {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        Admitted::healthy(pool)
    }

    fn uses_the_healthy(&self, _counts: &HealthCounts) -> bool {
        if let Some(pool) = self.pool.get() {
            (self.does)(pool);
        }
        false
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_to_a_policy_under_the_lock_of_edits_changes_nothing() {
    let calls: [fn(&Pool); 4] = [
        |pool| assert!(pool.control_health("b:80", HealthControl::ForcedUnhealthy)),
        |pool| assert!(pool.drain("b:80", OnUpstreamLoss::Leave)),
        |pool| assert!(pool.remove("b:80")),
        |pool| drop(pool.snapshot()),
    ];
    for (index, does) in calls.into_iter().enumerate() {
        let policy = DoesUnderLock {
            pool: Arc::default(),
            does,
        };
        let pool = pool(&["a", "b"]).availability(policy.clone()).build();
        policy.pool.set(pool.clone()).unwrap();
        // With something due, which a snapshot would take in.
        refuse(&pool, "a");
        tokio::time::advance(secs(60)).await;
        let log = ObserverLog::of(&pool);
        assert!(pool.add(named("c")), "call {index}");
        assert_eq!(log.read(), ["c added"], "call {index}");
        assert_eq!(states(&pool)[1..], ["healthy", "healthy"], "call {index}");
        assert_eq!(used(&pool)[..], ["a", "b", "c"], "call {index}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_evaluator_that_calls_another_pool_is_refused_too() {
    let policy = DoesAtEvents::new(|other| assert!(other.add(named("c"))));
    let (other, pool) = (
        pool(&["b"]).build(),
        pool(&["a"]).health_policy(policy.clone()).build(),
    );
    policy.pool.set(other.clone()).unwrap();
    assert!(!observe_event(&pool));
    assert_eq!(other.len(), 1);
}

/// Longer than any step of these tests.
const LONG: Duration = Duration::from_secs(20);

/// Waits for other threads.
fn yield_until(is_so: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + LONG;
    while !is_so() {
        assert!(
            std::time::Instant::now() < deadline,
            "the threads are stuck"
        );
        std::thread::yield_now();
    }
}

#[test]
fn an_evaluator_that_calls_the_pool_beside_an_edit_stops_neither() {
    let (begun, has_begun) = std::sync::mpsc::sync_channel(1);
    let (go_on, may_go_on) = std::sync::mpsc::sync_channel(1);
    static SIGNALS: OnceLock<(
        std::sync::mpsc::SyncSender<()>,
        Mutex<std::sync::mpsc::Receiver<()>>,
    )> = OnceLock::new();
    assert!(SIGNALS.set((begun, Mutex::new(may_go_on))).is_ok());
    let policy = DoesAtEvents::new(|pool| {
        let (begun, may_go_on) = SIGNALS.get().unwrap();
        begun.send(()).unwrap();
        may_go_on.lock().unwrap().recv_timeout(LONG).unwrap();
        pool.add(named("y"));
    });
    let pool = pool(&["a", "b"]).health_policy(policy.clone()).build();
    assert!(policy.pool.set(pool.clone()).is_ok());
    let observed = pool.clone();
    let event = std::thread::spawn(move || observe_event(&observed));
    has_begun.recv_timeout(LONG).unwrap();
    let edited = pool.clone();
    let edit = std::thread::spawn(move || edited.add(named("z")));
    // The other thread has the lock of the edits, and waits for that of the upstream.
    yield_until(|| !pool.state.edits.is_free());
    go_on.send(()).unwrap();
    yield_until(|| event.is_finished() && edit.is_finished());
    assert!(!event.join().unwrap(), "the evaluator is refused");
    assert!(edit.join().unwrap());
}

use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::time::{Instant, sleep};

use crate::{
    ErrorKind, Registry,
    http::head::RequestHead,
    observe::{Observer, UpstreamInfo},
    pool::{Pool, PoolBuilder},
    upstream::health::{
        Consecutive, Ejection, EventFilter, HealthEvaluator, HealthEvent, HealthEventKind,
        HealthTransition, Verdict,
        availability::{Admitted, Availability, FailClosed, KeepLast, UpstreamHealth},
        probe::ProbeSchedule,
    },
};

use super::kit::{
    ObserverLog, ProbeReaction, Script, accept, lease, member, named, open, pool, refuse, secs,
    start, states, used,
};

fn ejecting(names: &[&str]) -> PoolBuilder {
    pool(names).ejection(Ejection::new().jitter(0.0))
}

#[tokio::test(start_paused = true)]
async fn health_is_one_whichever_handle_asks() {
    let script = Script::new([("a", ProbeReaction::Fail), ("b", ProbeReaction::Fail)]);
    let first = pool(&["a", "b"])
        .probe(script)
        .probe_schedule(ProbeSchedule::every(secs(1)))
        .availability(KeepLast)
        .build();
    let probed = first.clone();
    assert_eq!(states(&first), ["healthy", "healthy"]);
    start(&probed);
    sleep(secs(10)).await;
    assert!(states(&first)[0].contains("out of order"));
    first.add(named("c"));
    first.remove("c:80");
    assert_eq!(used(&probed).len(), 1, "never the last");
}

#[tokio::test(start_paused = true)]
async fn an_evaluator_that_changes_its_verdict_without_an_event_is_called_in_time() {
    /// Evaluator: unhealthy without an event for 30 s after the first one.
    #[derive(Clone, Debug, Default)]
    struct UnhealthyWhenSilent(Option<Instant>);
    impl HealthEvaluator for UnhealthyWhenSilent {
        fn observe(&mut self, event: &HealthEvent) {
            self.0 = Some(event.at + secs(30));
        }
        fn verdict(&mut self, now: Instant) -> Verdict {
            match self.0 {
                Some(until) if until <= now => Verdict::Unhealthy,
                _ => Verdict::Healthy,
            }
        }
        fn changes_at(&self) -> Option<Instant> {
            self.0
        }
        fn cause(&self) -> Cow<'_, str> {
            "nothing heard for 30s".into()
        }
    }

    let pool = ejecting(&["a", "b"])
        .health_policy(UnhealthyWhenSilent::default())
        .build();
    accept(&pool, "a");
    sleep(secs(20)).await;
    accept(&pool, "a");
    sleep(secs(20)).await;
    assert_eq!(used(&pool), ["a", "b"]);
    sleep(secs(10)).await;
    assert_eq!(used(&pool), ["b"]);
    assert_eq!(
        states(&pool),
        ["unhealthy: nothing heard for 30s", "healthy"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_flaps_is_ejected_for_longer_each_time() {
    let pool = ejecting(&["a", "b"]).build();
    let log = ObserverLog::of(&pool);
    let mut out = Vec::new();
    for _ in 0..4 {
        while used(&pool).len() == 2 {
            refuse(&pool, "a");
        }
        let fell = Instant::now();
        while used(&pool).len() == 1 {
            sleep(secs(1)).await;
        }
        out.push(fell.elapsed().as_secs());
    }
    assert_eq!(out, [10, 20, 30, 40]);
    // One failure is enough while half-open; one success ends the state.
    accept(&pool, "a");
    let told = log.read();
    assert_eq!(told.len(), 9);
    assert_eq!(
        told[2],
        "a unhealthy: failed while half-open: the upstream could not be connected"
    );
    assert_eq!(told[8], "a healthy");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_flaps_within_its_probes_does_not_flap_the_clients() {
    let script = Script::new([("a", ProbeReaction::Fail)]);
    let interval = secs(1);
    let pool = pool(&["a", "b"])
        .probe(script.clone())
        .probe_schedule(ProbeSchedule::every(interval).jitter(0.0))
        .health_policy(Consecutive::new().fails(3).passes(2))
        .build();
    let log = ObserverLog::of(&pool);
    start(&pool);
    // Two failures, one pass, repeatedly: never three in a row.
    for round in 0..100 {
        let reaction = if round % 3 == 2 {
            ProbeReaction::Pass
        } else {
            ProbeReaction::Fail
        };
        script.set("a", reaction);
        sleep(interval).await;
    }
    assert_eq!(log.read(), [""; 0]);
    script.set("a", ProbeReaction::Fail);
    sleep(secs(5)).await;
    assert_eq!(log.read().len(), 1);
    // One pass, one failure: never two in a row.
    for round in 0..100 {
        let reaction = if round % 2 == 0 {
            ProbeReaction::Pass
        } else {
            ProbeReaction::Fail
        };
        script.set("a", reaction);
        sleep(interval).await;
    }
    assert_eq!(log.read(), [""; 0]);
    assert_eq!(used(&pool), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn edits_are_reported_and_an_identical_set_is_not() {
    let pool = pool(&["a", "b"]).build();
    let log = ObserverLog::of(&pool);
    pool.replace([named("b"), named("a").weight(2), named("c")]);
    assert_eq!(log.read(), ["a changed", "c added"]);
    pool.replace([named("b"), named("a").weight(2), named("c")]);
    assert_eq!(log.read(), [""; 0]);
    pool.replace([named("d"), named("b")]);
    assert_eq!(log.read(), ["a removed", "c removed", "d added"]);
}

#[tokio::test(start_paused = true)]
async fn health_survives_a_re_add_and_figures_do_while_there_are_tunnels() {
    let pool = ejecting(&["a", "b"])
        .health_policy(
            Consecutive::new()
                .fails(1)
                .counting(crate::upstream::health::EventFilter::handshakes()),
        )
        .build();
    let lease = lease(&pool).await.unwrap();
    let name = lease.member().upstream().name().replace(":80", "");
    pool.remove(&format!("{name}:80"));
    sleep(secs(3600)).await;
    pool.add(named("c"));
    pool.add(named(&name));
    assert_eq!(
        member(&pool, &name).tunnels(),
        1,
        "the lease is an hour old"
    );
    refuse(&pool, "c");
    pool.remove("c:80");
    pool.add(named("c"));
    assert!(!used(&pool).contains(&"c".to_owned()));
    drop(lease);
    assert_eq!(member(&pool, &name).tunnels(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_of_weight_zero_gets_nothing_whatever_the_policy() {
    let first = |_: &crate::upstream::balance::Candidates<'_>, _: &RequestHead<'_>| Some(0);
    let pool = Pool::from_upstreams([named("a").weight(0), named("b")])
        .balance(first)
        .build();
    let picked = lease(&pool).await.unwrap();
    assert_eq!(picked.member().upstream().name(), "b:80");
    pool.remove("b:80");
    assert_eq!(lease(&pool).await.unwrap_err(), ErrorKind::NoUpstream);
}

#[tokio::test(start_paused = true)]
async fn a_healthy_upstream_of_weight_zero_does_not_count_as_the_last() {
    let pool = Pool::from_upstreams([named("spare").weight(0), named("b")])
        .availability(KeepLast)
        .build();
    for _ in 0..5 {
        refuse(&pool, "b");
    }
    assert_eq!(used(&pool), ["b"]);
    assert!(states(&pool)[1].starts_with("unhealthy"));
}

#[tokio::test(start_paused = true)]
async fn recovered_and_new_upstreams_start_slowly() {
    let pool = ejecting(&["a", "b"]).slow_start(secs(100)).build();
    let readiness = |name: &str| member(&pool, name).readiness(Instant::now());
    assert!(
        readiness("a") >= 1.0,
        "no other upstream could take the clients"
    );
    for _ in 0..5 {
        refuse(&pool, "a");
    }
    sleep(secs(10)).await;
    assert_eq!(used(&pool), ["a", "b"]);
    assert!(readiness("a") < 0.02);
    sleep(secs(50)).await;
    // A success while half-open does not restart the slow start.
    accept(&pool, "a");
    assert!((readiness("a") - 0.5).abs() < 0.01);
    pool.add(named("c"));
    assert!(readiness("c") < 0.02);
    pool.drain("b:80", crate::pool::OnUpstreamLoss::Leave);
    pool.resume("b:80");
    assert!(readiness("b") < 0.02);
}

#[tokio::test(start_paused = true)]
async fn an_observer_may_use_the_pool_and_gets_all_in_order() {
    #[derive(Debug)]
    struct EditingObserver(Mutex<Option<Pool>>, Mutex<Vec<String>>);
    impl Observer for EditingObserver {
        fn health_changed(&self, upstream: &UpstreamInfo<'_>, transition: &HealthTransition) {
            self.1.lock().unwrap().push(transition.to_string());
            if let Some(pool) = &*self.0.lock().unwrap() {
                pool.remove(upstream.name);
                let _ = pool.snapshot();
            }
        }
        fn upstream_changed(&self, _: &UpstreamInfo<'_>, change: crate::observe::MembershipChange) {
            self.1.lock().unwrap().push(change.to_string());
        }
    }

    let pool = pool(&["a", "b"]).build();
    let retires = Arc::new(EditingObserver(
        Mutex::new(Some(pool.clone())),
        Mutex::default(),
    ));
    let observer: Arc<dyn Observer> = Arc::clone(&retires) as _;
    pool.attach_observer(&observer);
    refuse(&pool, "a");
    assert_eq!(pool.len(), 1);
    let told = retires.1.lock().unwrap().clone();
    assert_eq!(told.len(), 2);
    assert!(told[0].starts_with("unhealthy"));
    assert_eq!(told[1], "removed");
    retires.0.lock().unwrap().take();
}

#[test]
fn a_pool_forgets_layers_that_are_gone() {
    let pool = pool(&["a"]).build();
    let layer = crate::ProxyLayer::new(pool.clone()).observer(ObserverLog::default());
    let other = layer.clone().observer(ObserverLog::default());
    assert_eq!(pool.state.notifier.observers().len(), 2);
    drop((layer, other));
    assert!(pool.state.notifier.observers().is_empty());
    for _ in 0..3 {
        drop(crate::ProxyLayer::new(pool.clone()).observer(ObserverLog::default()));
    }
    assert_eq!(
        pool.state.remembered_observers(),
        1,
        "and with the next edit that one"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pool_does_not_live_for_its_tunnels() {
    let pool = pool(&["a"]).build();
    let _tunnel = open(&Registry::new(), &member(&pool, "a"));
    let state: Weak<_> = Arc::downgrade(&pool.state);
    drop(pool);
    assert!(state.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn events_that_began_before_an_ejection_are_ignored_after_it() {
    let pool = ejecting(&["a", "b"]).build();
    let began = Instant::now();
    sleep(secs(5)).await;
    for _ in 0..5 {
        refuse(&pool, "a");
    }
    sleep(secs(11)).await;
    assert_eq!(used(&pool), ["a", "b"]);
    let hung = HealthEventKind::HandshakeFailed(ErrorKind::HandshakeTimeout);
    let hung = HealthEvent::new(Instant::now(), hung).started_at(began);
    pool.state.observe(&member(&pool, "a"), &hung);
    assert_eq!(states(&pool)[0], "half-open");
}

/// Writer that keeps the log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn every_change() {
    let pool = ejecting(&["a", "b"]).build();
    for _ in 0..5 {
        refuse(&pool, "a");
    }
    sleep(secs(10)).await;
    let _ = pool.snapshot();
    accept(&pool, "a");
    pool.drain("b:80", crate::pool::OnUpstreamLoss::Leave);
    pool.resume("b:80");
    pool.remove("b:80");
}

#[tokio::test(start_paused = true)]
async fn every_change_is_logged_with_its_cause() {
    // A callsite that another test's thread is registering at this moment may be cached as one
    // without subscribers, and logs the next time.
    let expected = [
        "WARN upstream unhealthy upstream=a:80 cause=\"the upstream could not be connected\"",
        "WARN upstream half-open upstream=a:80 cause=\"its ejection is over\"",
        "WARN upstream healthy upstream=a:80 cause=\"a handshake succeeded\"",
        "INFO upstream draining upstream=b:80",
        "INFO upstream resumed upstream=b:80",
        "INFO upstream removed upstream=b:80",
    ];
    let mut logged = Vec::new();
    for _ in 0..5 {
        logged = log_of_every_change().await;
        if logged == expected {
            return;
        }
    }
    assert_eq!(logged, expected);
}

/// Returns what is logged, line by line.
async fn log_of_every_change() -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::callsite::rebuild_interest_cache();
    every_change().await;
    let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    logged.lines().map(|line| line.trim().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn many_failures_at_once_are_one_refresh() {
    static REFRESHES: AtomicUsize = AtomicUsize::new(0);
    #[derive(Debug)]
    struct Counting;
    impl Availability for Counting {
        fn admit(&self, upstreams: &[UpstreamHealth<'_>]) -> Admitted {
            REFRESHES.fetch_add(1, Ordering::Relaxed);
            FailClosed.admit(upstreams)
        }
    }

    let names: Vec<_> = (0..100).map(|number| format!("u{number}")).collect();
    let upstreams = names.iter().map(|name| named(name));
    let policy = Consecutive::new()
        .fails(1)
        .counting(EventFilter::handshakes());
    let pool = Pool::from_upstreams(upstreams)
        .health_policy(policy)
        .availability(Counting)
        .build();
    drop(lease(&pool).await.unwrap());
    let before = REFRESHES.load(Ordering::Relaxed);
    for name in &names[..50] {
        refuse(&pool, name);
    }
    assert_eq!(used(&pool).len(), 50);
    assert_eq!(REFRESHES.load(Ordering::Relaxed) - before, 1);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_one_ejection_does_not_touch_the_others() {
    static VERDICTS: AtomicUsize = AtomicUsize::new(0);
    #[derive(Clone, Debug, Default)]
    struct Counting(bool);
    impl HealthEvaluator for Counting {
        fn observe(&mut self, event: &HealthEvent) {
            self.0 = matches!(event.kind, HealthEventKind::ConnectFailed(_));
        }
        fn verdict(&mut self, _: Instant) -> Verdict {
            VERDICTS.fetch_add(1, Ordering::Relaxed);
            match self.0 {
                true => Verdict::Unhealthy,
                false => Verdict::Healthy,
            }
        }
        fn recovers_by_probes(&self) -> bool {
            false
        }
    }

    let names: Vec<_> = (0..100).map(|number| format!("u{number}")).collect();
    let pool = Pool::from_upstreams(names.iter().map(|name| named(name)))
        .health_policy(Counting::default())
        .ejection(Ejection::new().jitter(0.0))
        .build();
    assert_eq!(used(&pool).len(), 100);
    VERDICTS.store(0, Ordering::Relaxed);
    refuse(&pool, "u7");
    assert_eq!(used(&pool).len(), 99);
    sleep(secs(10)).await;
    assert_eq!(used(&pool).len(), 100);
    let verdicts = VERDICTS.load(Ordering::Relaxed);
    assert!(verdicts <= 5, "{verdicts}");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_gone_has_no_health_news() {
    let pool = ejecting(&["a", "b"]).build();
    let log = ObserverLog::of(&pool);
    for _ in 0..5 {
        refuse(&pool, "a");
    }
    pool.remove("a:80");
    assert_eq!(log.read().len(), 2);
    sleep(secs(60)).await;
    let _ = pool.snapshot();
    assert_eq!(log.read(), [""; 0]);
    // Its ejection goes on being over once it is back.
    pool.add(named("a"));
    assert_eq!(used(&pool), ["b", "a"]);
}

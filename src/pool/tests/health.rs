use std::{
    borrow::Cow,
    sync::{Arc, Mutex, Weak},
};

use tokio::time::{Instant, sleep};

use crate::{
    ErrorKind, Registry,
    http::head::RequestHead,
    observe::Observer,
    pool::Pool,
    upstream::health::{
        Consecutive, Ejection, HealthEvaluator, HealthEvent, HealthEventKind, KeepLast,
        ProbeSchedule, Transition, Verdict,
    },
};

use super::kit::{
    Diary, Does, Script, accept, lease, member, named, pool, refuse, secs, start, states, used,
};

fn ejecting(names: &[&str]) -> Pool {
    pool(names).ejection(Ejection::new().jitter(0.0))
}

#[tokio::test(start_paused = true)]
async fn health_is_one_whichever_handle_asks() {
    let first = pool(&["a", "b"]);
    // Seen before there was a probe.
    assert_eq!(states(&first), ["healthy", "healthy"]);
    let script = Script::new([("a", Does::Fail), ("b", Does::Fail)]);
    let probed = first
        .clone()
        .probe(script)
        .probe_schedule(ProbeSchedule::every(secs(1)))
        .availability(KeepLast);
    start(&probed);
    sleep(secs(10)).await;
    assert!(states(&first)[0].contains("out of order"));
    // An edit by the one that was not told of the availability.
    first.add(named("c"));
    first.remove("c:80");
    assert_eq!(used(&probed).len(), 1, "never the last");
}

#[tokio::test(start_paused = true)]
async fn a_judge_who_changes_his_mind_by_himself_is_asked_in_time() {
    /// Unhealthy when nothing was heard for 30 s after the first word.
    #[derive(Clone, Debug, Default)]
    struct Silence(Option<Instant>);
    impl HealthEvaluator for Silence {
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

    let pool = ejecting(&["a", "b"]).health_policy(Silence::default());
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
async fn an_upstream_that_flaps_is_left_out_for_longer_each_time() {
    let pool = ejecting(&["a", "b"]);
    let diary = Diary::of(&pool);
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
    // One failure is enough on trial; one success ends it.
    accept(&pool, "a");
    let told = diary.read();
    assert_eq!(told.len(), 9);
    assert_eq!(
        told[2],
        "a unhealthy: failed on trial: the upstream could not be connected"
    );
    assert_eq!(told[8], "a healthy");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_flaps_within_its_probes_does_not_flap_the_clients() {
    let script = Script::new([("a", Does::Fail)]);
    let interval = secs(1);
    let pool = pool(&["a", "b"])
        .probe(script.clone())
        .probe_schedule(ProbeSchedule::every(interval).jitter(0.0))
        .health_policy(Consecutive::new().fails(3).passes(2));
    let diary = Diary::of(&pool);
    start(&pool);
    // Two failures, one pass, over and over: never three in a row.
    for round in 0..100 {
        let does = if round % 3 == 2 {
            Does::Pass
        } else {
            Does::Fail
        };
        script.set("a", does);
        sleep(interval).await;
    }
    assert_eq!(diary.read(), [""; 0]);
    script.set("a", Does::Fail);
    sleep(secs(5)).await;
    assert_eq!(diary.read().len(), 1);
    // One pass, one failure: never two in a row.
    for round in 0..100 {
        let does = if round % 2 == 0 {
            Does::Pass
        } else {
            Does::Fail
        };
        script.set("a", does);
        sleep(interval).await;
    }
    assert_eq!(diary.read(), [""; 0]);
    assert_eq!(used(&pool), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn edits_are_told_and_an_identical_set_is_not() {
    let pool = pool(&["a", "b"]);
    let diary = Diary::of(&pool);
    pool.replace([named("b"), named("a").weight(2), named("c")]);
    assert_eq!(diary.read(), ["a changed", "c added"]);
    pool.replace([named("b"), named("a").weight(2), named("c")]);
    assert_eq!(diary.read(), [""; 0]);
    pool.replace([named("d"), named("b")]);
    assert_eq!(diary.read(), ["a removed", "c removed", "d added"]);
}

#[tokio::test(start_paused = true)]
async fn health_survives_a_re_add_and_figures_do_while_there_are_tunnels() {
    let pool = ejecting(&["a", "b"]).health_policy(
        Consecutive::new()
            .fails(1)
            .signals(crate::upstream::health::Signals::handshakes()),
    );
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
async fn one_of_weight_zero_gets_nothing_whatever_the_policy_says() {
    let first = |_: &crate::upstream::balance::Candidates<'_>, _: &RequestHead<'_>| Some(0);
    let pool = Pool::from_upstreams([named("a").weight(0), named("b")]).balance(first);
    let picked = lease(&pool).await.unwrap();
    assert_eq!(picked.member().upstream().name(), "b:80");
    pool.remove("b:80");
    assert_eq!(lease(&pool).await.unwrap_err(), ErrorKind::NoUpstream);
}

#[tokio::test(start_paused = true)]
async fn a_healthy_one_of_weight_zero_does_not_count_as_the_last() {
    let pool = Pool::from_upstreams([named("spare").weight(0), named("b")]).availability(KeepLast);
    for _ in 0..5 {
        refuse(&pool, "b");
    }
    assert_eq!(used(&pool), ["b"]);
    assert!(states(&pool)[1].starts_with("unhealthy"));
}

#[tokio::test(start_paused = true)]
async fn those_that_come_back_and_those_that_join_start_slowly() {
    let pool = ejecting(&["a", "b"]).slow_start(secs(100));
    let readiness = |name: &str| member(&pool, name).readiness(Instant::now());
    assert!(
        readiness("a") >= 1.0,
        "there is nobody to leave the clients to"
    );
    for _ in 0..5 {
        refuse(&pool, "a");
    }
    sleep(secs(10)).await;
    assert_eq!(used(&pool), ["a", "b"]);
    assert!(readiness("a") < 0.02);
    sleep(secs(50)).await;
    // It passes its trial, which is no reason to begin anew.
    accept(&pool, "a");
    assert!((readiness("a") - 0.5).abs() < 0.01);
    pool.add(named("c"));
    assert!(readiness("c") < 0.02);
    pool.drain("b:80", crate::OnUpstreamLoss::Leave);
    pool.resume("b:80");
    assert!(readiness("b") < 0.02);
}

#[tokio::test(start_paused = true)]
async fn an_observer_may_use_the_pool_and_hears_all_in_order() {
    #[derive(Debug)]
    struct Retires(Mutex<Option<Pool>>, Mutex<Vec<String>>);
    impl Observer for Retires {
        fn health_changed(&self, upstream: &str, transition: &Transition) {
            self.1.lock().unwrap().push(transition.to_string());
            if let Some(pool) = &*self.0.lock().unwrap() {
                pool.remove(upstream);
                let _ = pool.snapshot();
            }
        }
        fn upstream_changed(&self, _: &str, change: crate::UpstreamChange) {
            self.1.lock().unwrap().push(change.to_string());
        }
    }

    let pool = pool(&["a", "b"]);
    let retires = Arc::new(Retires(Mutex::new(Some(pool.clone())), Mutex::default()));
    let observer: Arc<dyn Observer> = Arc::clone(&retires) as _;
    pool.attach_observer(&observer);
    for _ in 0..5 {
        refuse(&pool, "a");
    }
    assert_eq!(pool.len(), 1);
    let told = retires.1.lock().unwrap().clone();
    assert_eq!(told.len(), 2);
    assert!(told[0].starts_with("unhealthy"));
    assert_eq!(told[1], "removed");
    retires.0.lock().unwrap().take();
}

#[test]
fn a_pool_forgets_layers_that_are_gone() {
    let pool = pool(&["a"]);
    let layer = crate::ProxyLayer::new(pool.clone()).observer(Diary::default());
    let other = layer.clone().observer(Diary::default());
    let registry = layer.registry();
    assert_eq!(pool.state.registries().len(), 1);
    assert_eq!(pool.state.news.observers().len(), 2);
    drop((layer, other, registry));
    assert!(pool.state.registries().is_empty());
    assert!(pool.state.news.observers().is_empty());
    for _ in 0..3 {
        drop(crate::ProxyLayer::new(pool.clone()).observer(Diary::default()));
    }
    assert_eq!(
        pool.state.remembered_layers(),
        (1, 1),
        "and with the next edit that one"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pool_does_not_live_for_its_registry() {
    let pool = pool(&["a"]);
    let registry = Registry::new();
    pool.attach(&registry);
    let state: Weak<_> = Arc::downgrade(&pool.state);
    drop(pool);
    assert!(state.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_began_before_an_ejection_says_nothing_after_it() {
    let pool = ejecting(&["a", "b"]);
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
    assert_eq!(states(&pool)[0], "on trial");
}

/// Keeps what is logged.
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
    let pool = ejecting(&["a", "b"]);
    for _ in 0..5 {
        refuse(&pool, "a");
    }
    sleep(secs(10)).await;
    let _ = pool.snapshot();
    accept(&pool, "a");
    pool.drain("b:80", crate::OnUpstreamLoss::Leave);
    pool.resume("b:80");
    pool.remove("b:80");
}

#[tokio::test(start_paused = true)]
async fn every_change_is_logged_with_its_cause() {
    // Once unheard: a place in the code that another test's thread is just passing for the first
    // time may be noted as one that nobody listens to.
    every_change().await;
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
    let logged: Vec<_> = logged.lines().map(str::trim).collect();
    assert_eq!(
        logged,
        [
            "WARN upstream unhealthy upstream=\"a:80\" cause=\"5 consecutive handshake failures: \
             the upstream could not be connected\"",
            "INFO upstream on trial upstream=\"a:80\" cause=\"its ejection is over\"",
            "INFO upstream healthy upstream=\"a:80\" cause=\"it passed its trial\"",
            "INFO upstream draining upstream=\"b:80\"",
            "INFO upstream resumed upstream=\"b:80\"",
            "INFO upstream removed upstream=\"b:80\"",
        ]
    );
}

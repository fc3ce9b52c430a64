use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    net::connect::{Address, Connect, Connecting, Dialer},
    net::transport::Transport,
    observe::Observer,
    pool::Pool,
    upstream::health::{
        Consecutive, HealthEvaluator, HealthEvent, HealthEventKind, ProbeSchedule, Signals,
        SuccessRateOutliers, TcpProbe, Transition, Verdict,
    },
};

use super::kit::{Diary, Does, Script, member, named, pool, refuse, secs, start, states};

fn steady(interval: u64) -> ProbeSchedule {
    ProbeSchedule::every(secs(interval)).jitter(0.0)
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_has_failed_and_the_others_go_on() {
    let script = Script::new([("a", Does::Panic)]);
    let pool = pool(&["a", "b"])
        .probe(script.clone())
        .probe_schedule(steady(10));
    let diary = Diary::of(&pool);
    start(&pool);
    sleep(secs(25)).await;
    let cause = "a unhealthy: 3 consecutive probe failures: the probe panicked: \
                 this probe is broken";
    assert_eq!(diary.read(), [cause]);
    assert_eq!(script.asked("b").len(), 3);
    script.set("a", Does::Pass);
    sleep(secs(5)).await;
    assert_eq!(diary.read(), ["a healthy"]);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_observer_or_policy_does_not_end_the_probes() {
    #[derive(Debug)]
    struct Clumsy;
    impl Observer for Clumsy {
        fn health_changed(&self, _: &str, _: &Transition) {
            panic!("dropped it");
        }
    }
    #[derive(Clone, Debug)]
    struct Confused;
    impl HealthEvaluator for Confused {
        fn observe(&mut self, event: &HealthEvent) {
            let is_a = matches!(&event.kind, HealthEventKind::ProbeFailed { .. });
            assert!(!is_a, "what is this?");
        }
        fn verdict(&mut self, _: Instant) -> Verdict {
            Verdict::Healthy
        }
    }

    let script = Script::new([("a", Does::Fail)]);
    let watched = || {
        let pool = pool(&["a", "b"]).probe(script.clone());
        pool.probe_schedule(steady(10).while_unhealthy(secs(10)))
    };
    let clumsy: Arc<dyn Observer> = Arc::new(Clumsy);
    let first = watched();
    first.attach_observer(&clumsy);
    let diary = Diary::of(&first);
    start(&first);
    sleep(secs(95)).await;
    assert_eq!(script.asked("a").len(), 10);
    assert_eq!(script.asked("b").len(), 10);
    script.set("a", Does::Pass);
    sleep(secs(20)).await;
    // The clumsy one came first, and took the news with it.
    assert_eq!(diary.read(), [""; 0]);
    drop((first, clumsy));

    script.set("a", Does::Fail);
    let second = watched().health_policy(Confused);
    let before = [script.asked("a").len(), script.asked("b").len()];
    start(&second);
    sleep(secs(95)).await;
    let after = [script.asked("a").len(), script.asked("b").len()];
    assert_eq!(after.map(|count| count - before[0]), [10, 10]);
}

#[tokio::test(start_paused = true)]
async fn one_that_joins_is_probed_at_once_and_one_that_leaves_no_more() {
    let script = Script::default();
    let pool = pool(&["a"])
        .probe(script.clone())
        .probe_schedule(steady(3600));
    let began = Instant::now();
    start(&pool);
    sleep(secs(100)).await;
    pool.add(named("b"));
    sleep(secs(1)).await;
    assert_eq!(script.asked("a"), [began]);
    assert_eq!(script.asked("b"), [began + secs(100)]);
    pool.remove("a:80");
    sleep(secs(3600)).await;
    assert_eq!(script.asked("a").len(), 1);
    assert_eq!(script.asked("b").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn those_that_hang_do_not_shut_the_others_out() {
    let script = Script::default();
    let mut names: Vec<_> = (0..8).map(|number| format!("hangs{number}")).collect();
    for name in &names {
        script.set(name, Does::Hang);
    }
    names.extend((0..8).map(|number| format!("works{number}")));
    let schedule = steady(1).timeout(secs(5)).max_concurrent(4);
    let pool = Pool::from_upstreams(names.iter().map(|name| named(name)))
        .probe(script.clone())
        .probe_schedule(schedule);
    start(&pool);
    sleep(secs(120)).await;
    for name in &names {
        // A round of the hanging takes 10 s.
        let asked = script.asked(name).len();
        assert!(
            (10..=13).contains(&asked),
            "{name} was probed {asked} times"
        );
    }
    let states = states(&pool);
    assert!(
        states[..8]
            .iter()
            .all(|state| state.contains("answer timed out after 5s"))
    );
    assert!(states[8..].iter().all(|state| state == "healthy"));
}

#[tokio::test(start_paused = true)]
async fn no_upstream_is_probed_twice_at_a_time_whatever_is_edited() {
    let script = Script::new([("a", Does::Hang)]);
    let pool = pool(&["a", "b"])
        .probe(script.clone())
        .probe_schedule(steady(1).timeout(secs(30)));
    start(&pool);
    sleep(secs(1)).await;
    pool.remove("a:80");
    sleep(secs(1)).await;
    pool.add(named("a"));
    sleep(secs(1)).await;
    pool.add(named("a").weight(7));
    sleep(secs(1)).await;
    let pool = pool.probe(script.clone());
    sleep(secs(100)).await;
    assert_eq!(script.most_at_once(), 1);
    assert!(script.asked("a").len() >= 4, "it is probed on");
    drop(pool);
}

#[tokio::test(start_paused = true)]
async fn all_probes_end_with_the_last_handle() {
    let script = Script::new([("a", Does::Hang)]);
    let schedule = steady(1).timeout(secs(3600));
    let pool = pool(&["a", "b"])
        .probe(script.clone())
        .probe_schedule(schedule);
    start(&pool);
    sleep(secs(10)).await;
    assert_eq!(script.running(), 1);
    let asked = script.asked("b").len();
    drop(pool);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(script.running(), 0, "the one that hung was dropped");
    sleep(secs(3600)).await;
    assert_eq!(script.asked("b").len(), asked);
}

#[test]
fn when_a_runtime_ends_another_goes_on_with_the_probes() {
    let script = Script::new([("a", Does::Hang)]);
    let schedule = steady(5).timeout(secs(30));
    let pool = pool(&["a", "b"])
        .probe(script.clone())
        .probe_schedule(schedule);
    let run = |time| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            pool.keep_watch();
            sleep(secs(time)).await;
        });
    };
    run(8);
    assert_eq!((script.asked("a").len(), script.asked("b").len()), (1, 2));
    // Its clock begins where the first one began.
    run(16);
    assert_eq!(script.most_at_once(), 1);
    assert_eq!(script.asked("a").len(), 2);
    assert!(script.asked("b").len() >= 3);
}

#[tokio::test(start_paused = true)]
async fn what_clients_find_out_brings_the_next_probe_forward() {
    let script = Script::default();
    let policy = Consecutive::new().fails(2).signals(Signals::all());
    let pool = pool(&["a"])
        .probe(script.clone())
        .probe_schedule(steady(3600))
        .health_policy(policy);
    let began = Instant::now();
    start(&pool);
    sleep(secs(60)).await;
    refuse(&pool, "a");
    refuse(&pool, "a");
    assert_ne!(states(&pool), ["healthy"]);
    sleep(secs(10)).await;
    // At once, then as often as unhealthy ones are, until it has passed twice.
    let asked = script.asked("a");
    assert_eq!(asked, [began, began + secs(60), began + secs(62)]);
    assert_eq!(states(&pool), ["healthy"]);
}

#[tokio::test(start_paused = true)]
async fn probes_go_out_as_the_layer_connects_that_was_applied_last() {
    #[derive(Debug, Default)]
    struct Counting(std::sync::atomic::AtomicUsize);
    impl Connect for Counting {
        fn connect<'a>(&'a self, _: &'a Address) -> Connecting<'a> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Box::pin(async { Ok(Transport::new(tokio::io::duplex(1).0)) })
        }
    }

    let pool = pool(&["a"])
        .probe(TcpProbe::new())
        .probe_schedule(steady(10));
    let [first, second] = [(); 2].map(|()| Arc::new(Counting::default()));
    let by = |connector: &Arc<Counting>| Dialer {
        connector: Arc::clone(connector) as _,
        ..Dialer::default()
    };
    let count = |counting: &Counting| counting.0.load(std::sync::atomic::Ordering::Relaxed);
    pool.watch_by(&by(&first));
    sleep(secs(15)).await;
    assert_eq!((count(&first), count(&second)), (2, 0));
    pool.watch_by(&by(&second));
    sleep(secs(20)).await;
    assert_eq!((count(&first), count(&second)), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_upstreams_are_probed_in_time() {
    let script = Script::default();
    let names: Vec<_> = (0..1000).map(|number| format!("u{number}")).collect();
    let pool = Pool::from_upstreams(names.iter().map(|name| named(name)))
        .probe(script.clone())
        .probe_schedule(steady(10));
    start(&pool);
    sleep(secs(35)).await;
    for name in &names {
        assert_eq!(script.asked(name).len(), 4, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_ejection_ends_in_time_though_nobody_asks() {
    let pool = pool(&["a", "b"])
        .outliers(SuccessRateOutliers::new())
        .ejection(crate::upstream::health::Ejection::new().jitter(0.0));
    let diary = Diary::of(&pool);
    start(&pool);
    for _ in 0..5 {
        refuse(&pool, "a");
    }
    let fell = "a unhealthy: 5 consecutive handshake failures: \
                the upstream could not be connected";
    assert_eq!(diary.read(), [fell]);
    sleep(secs(11)).await;
    assert_eq!(diary.read(), ["a on trial"]);
    assert!(member(&pool, "a").is_used());
}

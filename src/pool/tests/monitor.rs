use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    net::connect::{Address, Connect, ConnectFuture, Dialer},
    net::transport::Transport,
    observe::{Observer, UpstreamInfo},
    pool::Pool,
    upstream::health::{
        Consecutive, EventFilter, HealthEvaluator, HealthEvent, HealthEventKind, HealthTransition,
        Verdict,
        outlier::SuccessRateOutliers,
        probe::{ProbeSchedule, TcpProbe},
    },
};

use super::kit::{
    ObserverLog, ProbeReaction, Script, member, named, pool, refuse, secs, start, states,
};

fn steady(interval: u64) -> ProbeSchedule {
    ProbeSchedule::every(secs(interval)).jitter(0.0)
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_has_failed_and_the_others_go_on() {
    let script = Script::new([("a", ProbeReaction::Panic)]);
    let pool = pool(&["a", "b"])
        .probe(script.clone())
        .probe_schedule(steady(10))
        .build();
    let log = ObserverLog::of(&pool);
    start(&pool);
    sleep(secs(25)).await;
    let cause = "a unhealthy: 3 consecutive probe failures: the probe panicked: \
                 this probe is broken";
    assert_eq!(log.read(), [cause]);
    assert_eq!(script.probed("b").len(), 3);
    script.set("a", ProbeReaction::Pass);
    sleep(secs(5)).await;
    assert_eq!(log.read(), ["a healthy"]);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_observer_or_policy_does_not_end_the_probes() {
    #[derive(Debug)]
    struct PanickingObserver;
    impl Observer for PanickingObserver {
        fn health_changed(&self, _: &UpstreamInfo<'_>, _: &HealthTransition) {
            panic!("dropped it");
        }
    }
    #[derive(Clone, Debug)]
    struct PanickingEvaluator;
    impl HealthEvaluator for PanickingEvaluator {
        fn observe(&mut self, event: &HealthEvent) {
            let is_a = matches!(&event.kind, HealthEventKind::ProbeFailed { .. });
            assert!(!is_a, "what is this?");
        }
        fn verdict(&mut self, _: Instant) -> Verdict {
            Verdict::Healthy
        }
    }

    let script = Script::new([("a", ProbeReaction::Fail)]);
    let watched = || {
        let pool = pool(&["a", "b"]).probe(script.clone());
        pool.probe_schedule(steady(10).while_unhealthy(secs(10)))
    };
    let clumsy: Arc<dyn Observer> = Arc::new(PanickingObserver);
    let first = watched().build();
    first.attach_observer(&clumsy);
    let log = ObserverLog::of(&first);
    start(&first);
    sleep(secs(95)).await;
    assert_eq!(script.probed("a").len(), 10);
    assert_eq!(script.probed("b").len(), 10);
    script.set("a", ProbeReaction::Pass);
    sleep(secs(20)).await;
    // The observer that panics comes first.
    let cause = "a unhealthy: 3 consecutive probe failures: out of order";
    assert_eq!(log.read(), [cause, "a healthy"]);
    drop((first, clumsy));

    script.set("a", ProbeReaction::Fail);
    let second = watched().health_policy(PanickingEvaluator).build();
    let before = [script.probed("a").len(), script.probed("b").len()];
    start(&second);
    sleep(secs(95)).await;
    let after = [script.probed("a").len(), script.probed("b").len()];
    assert_eq!(after.map(|count| count - before[0]), [10, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_new_upstream_is_probed_at_once_and_a_removed_one_no_longer() {
    let script = Script::default();
    let pool = pool(&["a"])
        .probe(script.clone())
        .probe_schedule(steady(3600))
        .build();
    let began = Instant::now();
    start(&pool);
    sleep(secs(100)).await;
    pool.add(named("b"));
    sleep(secs(1)).await;
    assert_eq!(script.probed("a"), [began]);
    assert_eq!(script.probed("b"), [began + secs(100)]);
    pool.remove("a:80");
    sleep(secs(3600)).await;
    assert_eq!(script.probed("a").len(), 1);
    assert_eq!(script.probed("b").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn probes_that_hang_do_not_starve_the_others() {
    let script = Script::default();
    let mut names: Vec<_> = (0..8).map(|number| format!("hangs{number}")).collect();
    for name in &names {
        script.set(name, ProbeReaction::Hang);
    }
    names.extend((0..8).map(|number| format!("works{number}")));
    let schedule = steady(1).timeout(secs(5)).max_concurrent(4);
    let pool = Pool::from_upstreams(names.iter().map(|name| named(name)))
        .probe(script.clone())
        .probe_schedule(schedule)
        .build();
    start(&pool);
    sleep(secs(120)).await;
    for name in &names {
        // A round of the probes that hang takes 10 s.
        let probed = script.probed(name).len();
        assert!(
            (10..=13).contains(&probed),
            "{name} was probed {probed} times"
        );
    }
    let states = states(&pool);
    assert!(
        states[..8]
            .iter()
            .all(|state| state.contains("response timed out after 5s"))
    );
    assert!(states[8..].iter().all(|state| state == "healthy"));
}

#[tokio::test(start_paused = true)]
async fn no_upstream_is_probed_twice_at_a_time_whatever_is_edited() {
    let script = Script::new([("a", ProbeReaction::Hang)]);
    let pool = pool(&["a", "b"])
        .probe(script.clone())
        .probe_schedule(steady(1).timeout(secs(30)))
        .build();
    start(&pool);
    sleep(secs(1)).await;
    pool.remove("a:80");
    sleep(secs(1)).await;
    pool.add(named("a"));
    sleep(secs(1)).await;
    pool.add(named("a").weight(7));
    sleep(secs(1)).await;
    sleep(secs(100)).await;
    assert_eq!(script.max_running(), 1);
    assert!(script.probed("a").len() >= 4, "it is probed on");
    drop(pool);
}

#[tokio::test(start_paused = true)]
async fn all_probes_end_with_the_last_handle() {
    let script = Script::new([("a", ProbeReaction::Hang)]);
    let schedule = steady(1).timeout(secs(3600));
    let pool = pool(&["a", "b"])
        .probe(script.clone())
        .probe_schedule(schedule)
        .build();
    start(&pool);
    sleep(secs(10)).await;
    assert_eq!(script.running(), 1);
    let probed = script.probed("b").len();
    drop(pool);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(script.running(), 0, "the one that hung was dropped");
    sleep(secs(3600)).await;
    assert_eq!(script.probed("b").len(), probed);
}

#[test]
fn when_a_runtime_ends_another_goes_on_with_the_probes() {
    let script = Script::new([("a", ProbeReaction::Hang)]);
    let schedule = steady(5).timeout(secs(30));
    let pool = pool(&["a", "b"])
        .probe(script.clone())
        .probe_schedule(schedule)
        .build();
    let run = |time| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            pool.ensure_monitor();
            sleep(secs(time)).await;
        });
    };
    run(8);
    assert_eq!((script.probed("a").len(), script.probed("b").len()), (1, 2));
    // The clock of the second runtime begins where the first one's began.
    run(16);
    assert_eq!(script.max_running(), 1);
    assert_eq!(script.probed("a").len(), 2);
    assert!(script.probed("b").len() >= 3);
}

#[tokio::test(start_paused = true)]
async fn clients_failures_bring_the_next_probe_forward() {
    let script = Script::default();
    let policy = Consecutive::new().fails(2).counting(EventFilter::all());
    let pool = pool(&["a"])
        .probe(script.clone())
        .probe_schedule(steady(3600))
        .health_policy(policy)
        .build();
    let began = Instant::now();
    start(&pool);
    sleep(secs(60)).await;
    refuse(&pool, "a");
    refuse(&pool, "a");
    assert_ne!(states(&pool), ["healthy"]);
    sleep(secs(10)).await;
    // Immediately, then at the unhealthy interval, until two probes have passed.
    let probed = script.probed("a");
    assert_eq!(probed, [began, began + secs(60), began + secs(62)]);
    assert_eq!(states(&pool), ["healthy"]);
}

#[tokio::test(start_paused = true)]
async fn probes_go_out_as_the_layer_connects_that_was_applied_last() {
    #[derive(Debug, Default)]
    struct Counting(std::sync::atomic::AtomicUsize);
    impl Connect for Counting {
        fn connect<'a>(&'a self, _: &'a Address) -> ConnectFuture<'a> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Box::pin(async { Ok(Transport::new(tokio::io::duplex(1).0)) })
        }
    }

    let pool = pool(&["a"])
        .probe(TcpProbe::new())
        .probe_schedule(steady(10))
        .build();
    let [first, second] = [(); 2].map(|()| Arc::new(Counting::default()));
    let by = |connector: &Arc<Counting>| Dialer {
        connector: Arc::clone(connector) as _,
        ..Dialer::default()
    };
    let count = |counting: &Counting| counting.0.load(std::sync::atomic::Ordering::Relaxed);
    pool.set_probe_dialer(&by(&first));
    sleep(secs(15)).await;
    assert_eq!((count(&first), count(&second)), (2, 0));
    pool.set_probe_dialer(&by(&second));
    sleep(secs(20)).await;
    assert_eq!((count(&first), count(&second)), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_upstreams_are_probed_in_time() {
    let script = Script::default();
    let names: Vec<_> = (0..1000).map(|number| format!("u{number}")).collect();
    let pool = Pool::from_upstreams(names.iter().map(|name| named(name)))
        .probe(script.clone())
        .probe_schedule(steady(10))
        .build();
    start(&pool);
    let began = Instant::now();
    sleep(secs(35)).await;
    for name in &names {
        let probed = script.probed(name);
        assert!(probed[0] <= began + secs(10), "{name}");
        assert!(probed.windows(2).all(|two| two[1] - two[0] == secs(10)));
        assert!(probed[probed.len() - 1] >= began + secs(24), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_ejection_ends_in_time_without_clients() {
    let pool = pool(&["a", "b"])
        .outliers(SuccessRateOutliers::new())
        .ejection(crate::upstream::health::Ejection::new().jitter(0.0))
        .build();
    let log = ObserverLog::of(&pool);
    start(&pool);
    refuse(&pool, "a");
    let fell = "a unhealthy: the upstream could not be connected";
    assert_eq!(log.read(), [fell]);
    sleep(secs(11)).await;
    assert_eq!(log.read(), ["a half-open"]);
    assert!(member(&pool, "a").is_used());
}

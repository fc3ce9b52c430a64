//! Times of the first probes of upstreams that join a pool.

use tokio::time::{Instant, sleep};

use crate::{pool::Pool, upstream::health::probe::ProbeSchedule};

use super::kit::{Script, named, secs, start, states};

/// Returns a pool of this many upstreams, and the record of its probes.
fn watched(count: usize) -> (Pool, Script) {
    let script = Script::default();
    let pool = Pool::from_upstreams((0..count).map(|index| named(&format!("u{index}"))))
        .probe(script.clone())
        .probe_schedule(ProbeSchedule::every(secs(10)))
        .unhealthy_until_probed()
        .build();
    (pool, script)
}

/// Returns the time of each upstream's first probe, in milliseconds.
fn first_probes(script: &Script, count: usize, since: Instant) -> Vec<u128> {
    let first = |index| script.probed(&format!("u{index}"))[0];
    let mut times: Vec<_> = (0..count)
        .map(|index| (first(index) - since).as_millis())
        .collect();
    times.sort_unstable();
    times
}

#[tokio::test(start_paused = true)]
async fn the_first_probes_of_a_large_pool_are_spread() {
    fastrand::seed(5);
    let (pool, script) = watched(1_000);
    // The pool may be built long before a request starts its monitor.
    sleep(secs(60)).await;
    let began = Instant::now();
    start(&pool);
    sleep(secs(3)).await;
    let times = first_probes(&script, 1_000, began);
    // Unhealthy upstreams are probed every 2 s, so that is their share of time.
    assert!((1_500..=2_000).contains(times.last().unwrap()), "{times:?}");
    let most = times.windows(101).map(|window| window[100] - window[0]);
    assert!(most.min().unwrap() >= 100, "at most 100 within 0.1 s");
    assert!(states(&pool).iter().all(|state| state == "healthy"));
    sleep(secs(60)).await;
    assert!((6..=9).contains(&script.probed("u7").len()));
}

#[tokio::test(start_paused = true)]
async fn the_first_probes_of_a_few_upstreams_are_due_at_once() {
    let (pool, script) = watched(64);
    let began = Instant::now();
    start(&pool);
    sleep(secs(1)).await;
    assert_eq!(first_probes(&script, 64, began), [0; 64]);
    let added = Instant::now();
    pool.add(named("u64"));
    sleep(secs(1)).await;
    assert_eq!(script.probed("u64")[0], added);
}

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    pool::{Pool, PoolBuilder},
    upstream::health::{
        Ejection,
        availability::{FailClosed, KeepLast, MaxEjectionPercent},
        outlier::{EventCounts, Outlier, OutlierPolicy, SuccessRateOutliers},
    },
};

use super::kit::{ObserverLog, accept, fail, lease, pool, refuse, secs, start, states, used};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Failures are spread so thinly that no upstream becomes unhealthy by itself.
fn serve(pool: &Pool, name: &str, good: u32, bad: u32) {
    for round in 0..good.max(bad) {
        if round < good {
            accept(pool, name);
        }
        if round < bad {
            fail(pool, name);
        }
    }
}

fn compared() -> PoolBuilder {
    pool(&NAMES)
        .outliers(
            SuccessRateOutliers::new()
                .every(secs(10))
                .minimum_volume(50),
        )
        .ejection(Ejection::new().jitter(0.0))
}

#[tokio::test(start_paused = true)]
async fn an_outlier_is_ejected_and_comes_back() {
    let pool = compared().build();
    let log = ObserverLog::of(&pool);
    serve(&pool, "a", 60, 40);
    for name in &NAMES[1..] {
        serve(&pool, name, 100, 0);
    }
    sleep(secs(9)).await;
    assert_eq!(used(&pool), NAMES, "not before the interval is over");
    sleep(secs(1)).await;
    assert_eq!(used(&pool), ["b", "c", "d", "e"]);
    let fell = "a unhealthy: 60.0% success, where the pool has 92.0% on average";
    assert_eq!(log.read(), [fell]);
    assert_eq!(states(&pool)[0], fell.replacen("a ", "", 1));
    sleep(secs(10)).await;
    assert_eq!(used(&pool), NAMES);
    assert_eq!(log.read(), ["a half-open"]);
    // Earlier events are forgotten.
    for name in NAMES {
        serve(&pool, name, 100, 0);
    }
    sleep(secs(20)).await;
    assert_eq!(used(&pool), NAMES);
}

#[tokio::test(start_paused = true)]
async fn an_outlier_is_ejected_in_time_without_clients() {
    let pool = compared().build();
    let log = ObserverLog::of(&pool);
    start(&pool);
    serve(&pool, "c", 60, 40);
    for name in ["a", "b", "d", "e"] {
        serve(&pool, name, 100, 0);
    }
    sleep(secs(11)).await;
    assert_eq!(log.read().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_none_is_ejected() {
    let pool = compared().build();
    for name in NAMES {
        serve(&pool, name, 60, 40);
    }
    sleep(secs(10)).await;
    assert_eq!(used(&pool), NAMES);
}

/// Outlier policy that ejects every upstream with a failure, in the pool's order.
#[derive(Debug)]
struct Strict;

impl OutlierPolicy for Strict {
    fn interval(&self) -> Duration {
        secs(10)
    }

    fn outliers(&self, pool: &[EventCounts]) -> Vec<Outlier> {
        let bad = pool.iter().enumerate().filter(|(_, tally)| tally.bad > 0);
        let bad = bad.map(|(index, _)| Outlier::new(index, "not perfect"));
        // An index outside the pool, too.
        bad.chain([Outlier::new(99, "who is that?")]).collect()
    }
}

/// Outlier policy whose interval changes, in seconds.
#[derive(Clone, Debug)]
struct Changing(Arc<AtomicU64>);

impl OutlierPolicy for Changing {
    fn interval(&self) -> Duration {
        secs(self.0.load(Ordering::Relaxed))
    }

    fn outliers(&self, pool: &[EventCounts]) -> Vec<Outlier> {
        Strict.outliers(pool)
    }
}

#[tokio::test(start_paused = true)]
async fn a_shorter_interval_counts_before_the_old_one_ends() {
    let interval = Arc::new(AtomicU64::new(3600));
    let pool = pool(&NAMES)
        .outliers(Changing(Arc::clone(&interval)))
        .build();
    let log = ObserverLog::of(&pool);
    start(&pool);
    sleep(secs(1)).await;
    interval.store(10, Ordering::Relaxed);
    serve(&pool, "a", 3, 1);
    sleep(secs(10)).await;
    assert_eq!(log.read().len(), 1, "{:?}", states(&pool));
}

#[tokio::test(start_paused = true)]
async fn a_shorter_interval_counts_within_a_minute_although_no_event_arrives() {
    let interval = Arc::new(AtomicU64::new(3600));
    let pool = pool(&NAMES)
        .outliers(Changing(Arc::clone(&interval)))
        .build();
    let log = ObserverLog::of(&pool);
    start(&pool);
    serve(&pool, "a", 3, 1);
    sleep(secs(1)).await;
    interval.store(10, Ordering::Relaxed);
    sleep(secs(60)).await;
    assert_eq!(log.read()[0], "a unhealthy: not perfect");
}

#[tokio::test(start_paused = true)]
async fn no_more_are_ejected_than_the_availability_leaves_out_and_never_the_last() {
    let fail_all = |pool: &Pool| {
        for name in NAMES {
            serve(pool, name, 3, 1);
        }
    };
    let limited = pool(&NAMES)
        .outliers(Strict)
        .availability(MaxEjectionPercent::percent(40))
        .build();
    let log = ObserverLog::of(&limited);
    fail_all(&limited);
    sleep(secs(10)).await;
    assert_eq!(used(&limited), ["c", "d", "e"]);
    let told = log.read();
    assert_eq!(
        told,
        ["a unhealthy: not perfect", "b unhealthy: not perfect"]
    );

    let closed = pool(&NAMES)
        .outliers(Strict)
        .availability(FailClosed)
        .build();
    fail_all(&closed);
    sleep(secs(10)).await;
    assert_eq!(used(&closed), ["e"]);
}

#[tokio::test(start_paused = true)]
async fn events_of_an_ejected_upstream_are_not_counted() {
    let pool = pool(&NAMES)
        .outliers(Strict)
        .ejection(Ejection::new().base(secs(100)))
        .build();
    serve(&pool, "a", 1, 1);
    sleep(secs(10)).await;
    assert_eq!(used(&pool), ["b", "c", "d", "e"]);
    // Handshakes that were still under way.
    serve(&pool, "a", 0, 50);
    sleep(secs(120)).await;
    assert_eq!(used(&pool), NAMES);
    sleep(secs(20)).await;
    assert_eq!(used(&pool), NAMES);
}

#[tokio::test(start_paused = true)]
async fn after_two_outliers_at_once_the_last_upstreams_are_used_when_none_is_healthy() {
    let pool = || {
        pool(&["a", "b", "c", "d"])
            .outliers(Strict)
            .ejection(Ejection::new().base(secs(100)))
    };
    for (pool, expected) in [
        (pool().build(), &["a", "b", "c", "d"][..]),
        (pool().availability(KeepLast).build(), &["d"]),
    ] {
        for name in ["a", "b"] {
            serve(&pool, name, 3, 1);
        }
        for name in ["c", "d"] {
            serve(&pool, name, 3, 0);
        }
        sleep(secs(10)).await;
        assert_eq!(used(&pool), ["c", "d"]);
        for name in ["c", "d"] {
            sleep(secs(1)).await;
            refuse(&pool, name);
        }
        assert_eq!(used(&pool), expected);
        assert!(lease(&pool).await.is_ok());
    }
}

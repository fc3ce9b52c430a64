//! Admission limits and the queue, as clients see them.

use std::{collections::BTreeSet, time::Duration};

use wsplice::Admission;

use super::clock_upstreams::{Does, Got, World, crowd, value};

const WAIT: Duration = Duration::from_secs(30);

fn refused(got: &[Got]) -> Vec<&Got> {
    got.iter().filter(|got| got.status == 503).collect()
}

#[tokio::test(start_paused = true)]
async fn those_beyond_a_limit_are_sent_away_for_times_that_differ() {
    let world = World::of([Does::Accept]);
    let pool = world
        .pool()
        .admission(Admission::new().max_tunnels(10))
        .build();
    let proxy = world.proxy(&pool, |layer| layer);
    let got = crowd(&proxy, 200).await;
    let refused = refused(&got);
    assert_eq!(refused.len(), 190);
    let waits: BTreeSet<u32> = refused
        .iter()
        .map(|got| value(&got.head, "retry-after").unwrap().parse().unwrap())
        .collect();
    assert_eq!(waits, BTreeSet::from([2, 3, 4, 5]), "seconds");
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_let_in_as_fast_as_the_limits_say() {
    let world = World::of([Does::Accept, Does::Accept]);
    let each_second = Admission::new().handshakes_per_second(50);
    let pool = world
        .pool()
        .admission(each_second)
        .queue(1000, WAIT)
        .build();
    let proxy = world.proxy(&pool, |layer| layer);
    let got = crowd(&proxy, 500).await;
    assert!(got.iter().all(|got| got.status == 101));
    // A second's worth at once, the rest at 50 a second.
    let slowest = got.iter().map(|got| got.after).max().unwrap();
    let expected = Duration::from_millis(8_900)..Duration::from_millis(9_600);
    assert!(expected.contains(&slowest), "{slowest:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_retry_is_kept_no_longer_than_the_queue_says() {
    // One place in all, which the first one takes for good as soon as the other has failed.
    let world = World::of([Does::HangInHandshake, Does::Accept]);
    let pool = world
        .pool()
        .admission(Admission::new().max_tunnels(1))
        .queue(10, Duration::from_secs(5))
        .balance(wsplice::balance::First::new())
        .build();
    let retry = wsplice::Retry::new().on([wsplice::pool::RetryOn::Timeout]);
    let proxy = world.proxy(&pool, |layer| {
        layer.retry(retry).handshake_timeout(Duration::from_secs(1))
    });
    let got = crowd(&proxy, 4).await;
    // A failed request goes to the end of the queue, and the next one fails alike.
    let statuses: BTreeSet<u16> = got.iter().map(|got| got.status).collect();
    assert_eq!(statuses, BTreeSet::from([101, 504]));
    assert_eq!(got.iter().filter(|got| got.status == 101).count(), 1);
    let slowest = got.iter().map(|got| got.after).max().unwrap();
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
}

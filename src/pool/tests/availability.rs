//! Tests of the rows that availability policies of the host get.

use std::sync::{Arc, Mutex};

use crate::{
    pool::OnUpstreamLoss,
    upstream::health::availability::{Admitted, Availability, UpstreamHealth},
};

use super::kit::{named, pool, refuse, used};

/// Availability policy that keeps the rows of its last call, and uses an upstream of this name whatever
/// its health.
#[derive(Clone, Debug, Default)]
struct AlwaysUp {
    name: &'static str,
    rows: Arc<Mutex<Vec<String>>>,
}

impl Availability for AlwaysUp {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        let row = |row: &UpstreamHealth<'_>| {
            let state = match (row.is_draining, row.unhealthy_since) {
                (true, _) => "draining",
                (false, Some(_)) => "unhealthy",
                (false, None) => "healthy",
            };
            format!("{} {} {state}", row.name, row.weight)
        };
        *self.rows.lock().unwrap() = pool.iter().map(row).collect();
        let mut admitted = Admitted::healthy(pool);
        if let Some(index) = pool.iter().position(|row| row.name == self.name) {
            admitted.insert(index);
        }
        admitted
    }
}

#[tokio::test(start_paused = true)]
async fn the_rows_are_all_upstreams_with_names_and_flags_in_the_order_of_the_pool() {
    let policy = AlwaysUp::default();
    let pool = pool(&["c", "a", "b"]).availability(policy.clone()).build();
    pool.add(named("0").weight(0));
    pool.drain("c:80", OnUpstreamLoss::Leave);
    refuse(&pool, "a");
    assert_eq!(used(&pool), ["b"]);
    let rows = policy.rows.lock().unwrap().clone();
    let expected = [
        "c:80 1 draining",
        "a:80 1 unhealthy",
        "b:80 1 healthy",
        "0:80 0 healthy",
    ];
    assert_eq!(rows, expected);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_drained_shifts_no_index_to_another_one() {
    let policy = AlwaysUp {
        name: "a:80",
        ..AlwaysUp::default()
    };
    let pool = pool(&["a", "b", "c"]).availability(policy).build();
    refuse(&pool, "a");
    refuse(&pool, "b");
    assert_eq!(used(&pool), ["a", "c"], "the policy admits a, and not b");
    pool.drain("a:80", OnUpstreamLoss::Leave);
    assert_eq!(used(&pool), ["c"], "a drained upstream is never used");
}

//! Faults of every party, drawn from a seed: a proxy, some upstreams and clients in memory, on a paused
//! clock, and laws that must hold whatever happens.
//!
//! | file | |
//! |---|---|
//! | `plan` | the parties' settings and the incidents, from a seed |
//! | `message` | numbered messages, and the order in which they must arrive |
//! | `server`, `client` | the far ends, which speak WebSocket by tungstenite |
//! | `network` | the way to the upstreams, whose names are looked up |
//! | `ledger` | what the proxy reports, beside what the far ends have seen |
//! | `host` | functions of the host, which panic now and then |
//! | `world` | all parties together, and the incidents as they happen |
//! | `accounts` | the proxy's counts, beside each other and beside the truth |
//! | `metrics` | the metrics, as Prometheus reads them |
//!
//! The laws:
//!
//! - A message arrives whole and once, or not at all. On one leg none is missing before the last one that
//!   arrives, and they are in order. A client gets its echoes in order over all legs; an upstream that was
//!   cut off may read late what was sent to it before the tunnel went on elsewhere.
//! - Every wait of a client ends within its bound.
//! - A tunnel that was opened is reported once. At any moment, and in the metrics too, the tunnels that the
//!   observer saw open are those of the registry and of the pool, no upstream has more than it may, and no
//!   more handshakes are under way than clients and tunnels that wait for one. When all clients have left,
//!   nothing is left of them in the proxy, no upstream has a connection, as many handshakes were accepted
//!   as clients saw, and the traffic is the sum of the reports.
//! - A drain is over by its deadline, and its outcome is what has happened: a tunnel of a client that
//!   behaves to an upstream that works is closed in order.
//! - An upstream that has not failed is never unhealthy, never the failed side and never the one that ended
//!   a tunnel, whatever others do: clients, DNS, the other upstreams, functions of the host. Nor is a client
//!   that behaves, unless it left.
//! - No client that behaves loses a tunnel to the upstream that works all the time, unless an operator ends
//!   it.
//!
//! `WSPLICE_FAULTS_SEED=<number>` runs the plan of that seed alone, `WSPLICE_FAULTS_SEEDS=<count>` runs
//! more than usual, and `WSPLICE_FAULTS_FIRST=<number>` begins with another seed than 1.

mod accounts;
mod client;
mod host;
mod ledger;
mod message;
mod metrics;
mod network;
mod plan;
mod server;
mod world;

use std::{
    env,
    num::NonZero,
    ops::RangeInclusive,
    panic,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use ledger::Tally;
use plan::Plan;

/// Seeds of an ordinary run.
const SEEDS: u64 = 60;

#[test]
fn whatever_fails_no_law_is_broken() {
    let seeds = match number("WSPLICE_FAULTS_SEED") {
        Some(seed) => seed..=seed,
        None => {
            let first = number("WSPLICE_FAULTS_FIRST").unwrap_or(1);
            first..=first + number("WSPLICE_FAULTS_SEEDS").unwrap_or(SEEDS) - 1
        }
    };
    host::hide_panics();
    let total = run_all(&seeds);
    let runs = seeds.end() - seeds.start() + 1;
    println!("{runs} seeds: {total}");
    if runs >= SEEDS {
        total.assert_all_happened(runs);
    }
}

/// Runs the plans of these seeds, side by side: chance and the clock are each thread's own.
fn run_all(seeds: &RangeInclusive<u64>) -> Tally {
    let next = AtomicU64::new(*seeds.start());
    let run_some = || {
        let mut total = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !seeds.contains(&seed) {
                return total;
            }
            let tally = run(seed).unwrap_or_else(|panic| {
                // The others need not go on.
                next.store(seeds.end() + 1, Ordering::Relaxed);
                panic::resume_unwind(panic)
            });
            total.add(&tally);
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run_some)).collect();
        let mut total = Tally::default();
        for thread in threads {
            let tally = thread.join();
            total.add(&tally.unwrap_or_else(|panic| panic::resume_unwind(panic)));
        }
        total
    })
}

/// Runs the plan of a seed, and shows how to run it again if it fails.
fn run(seed: u64) -> thread::Result<Tally> {
    let plan = Plan::from_seed(seed);
    let tally = panic::catch_unwind(|| world::run(&plan));
    if tally.is_err() {
        println!(
            "again: WSPLICE_FAULTS_SEED={seed} cargo test --all-features --test simulation faults -- --nocapture"
        );
        println!("{plan:#?}");
    }
    tally
}

fn number(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

//! Faults of every party, drawn from a seed: a proxy, some upstreams and clients in memory, on a paused
//! clock, and laws that must hold whatever happens.
//!
//! | file | |
//! |---|---|
//! | `plan` | the parties' settings and the incidents, from a seed |
//! | `message` | numbered messages, and the order in which they must arrive |
//! | `server`, `client` | the far ends, which speak WebSocket by tungstenite |
//! | `ledger` | what the proxy reports, beside what the far ends have seen |
//! | `world` | all parties together, and the incidents as they happen |
//!
//! The laws:
//!
//! - A message arrives whole and once, or not at all. On one leg none is missing before the last one that
//!   arrives, and they are in order. A client gets its echoes in order over all legs; an upstream that was
//!   cut off may read late what was sent to it before the tunnel went on elsewhere.
//! - Every wait of a client ends within its bound.
//! - A tunnel that was opened is reported once. When all clients have left, the registry, the pool's
//!   tunnels and handshakes, and its queue are empty, and the traffic is the sum of the reports.
//! - A drain is over by its deadline.
//! - The upstream that works all the time is never unhealthy and never the failed side, and no client
//!   that behaves loses a tunnel to it, unless an operator ends it.
//!
//! `WSPLICE_FAULTS_SEED=<number>` runs the plan of that seed alone, `WSPLICE_FAULTS_SEEDS=<count>` runs
//! more than usual, and `WSPLICE_FAULTS_FIRST=<number>` begins with another seed than 1.

mod client;
mod ledger;
mod message;
mod plan;
mod server;
mod world;

use std::{env, panic};

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
    let runs = seeds.end() - seeds.start() + 1;
    let mut total = Tally::default();
    for seed in seeds {
        let plan = Plan::from_seed(seed);
        match panic::catch_unwind(|| world::run(&plan)) {
            Ok(tally) => total.add(&tally),
            Err(panic) => {
                println!(
                    "again: WSPLICE_FAULTS_SEED={seed} cargo test --all-features --test simulation faults -- --nocapture"
                );
                println!("{plan:#?}");
                panic::resume_unwind(panic);
            }
        }
    }
    println!("{runs} seeds: {total}");
    if runs >= SEEDS {
        total.assert_all_happened();
    }
}

fn number(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

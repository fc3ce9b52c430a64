//! A fleet in memory, on a paused clock: five proxies without a common state, twenty upstreams,
//! five thousand clients, and a series of incidents.
//!
//! The proxies are the crate as it is, in hyper's server; their network, the upstreams and the
//! clients are made here. Minutes pass in as long as the work in them takes, and nothing is left
//! to chance but by a seed: the same seed gives the same numbers.
//!
//! | file | |
//! |---|---|
//! | `link` | connections that take time, and can be cut or reset |
//! | `websocket` | HTTP and framing for the far ends |
//! | `upstream`, `proxy`, `client` | the parties |
//! | `board` | the state of every client, and statistics |
//! | `fleet`, `scenario` | all parties together, and the incidents |
//! | `recorder`, `episode` | the effects of an incident |
//! | `bounds`, `table` | the bounds that must hold, and the printed table |
//! | `faults` | few parties, any fault of each, and laws that must hold whatever happens |
//!
//! `docs/simulation.md` has the table, and the lessons from it. To print it:
//! `SIMULATION_WHOLE=1 cargo test --all-features --test simulation -- --nocapture`. Without that variable,
//! the fleets with other settings, which the table compares, do not run.
// Clippy's "allow in tests" covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod board;
mod bounds;
mod client;
mod episode;
mod faults;
mod fleet;
mod link;
mod proxy;
mod recorder;
mod scenario;
mod table;
mod upstream;
mod websocket;

use std::thread;

use tokio::runtime::Builder;

use episode::Episode;
use fleet::{Naming, Plan, Reattachment, Weights};
use proxy::{Health, Storm};
use scenario::Scenario;

const PLAN: Plan = Plan {
    proxies: 5,
    upstreams: 20,
    clients: 5_000,
    health: Health::Probes,
    storm: Storm::Control,
    weights: Weights::Equal,
    naming: Naming::Listed,
    reattachment: Reattachment::Off,
    seed: 4,
};

#[test]
fn a_fleet_outlives_dead_upstreams_lost_ones_and_a_rolling_restart() {
    let plan = Plan {
        seed: seed().unwrap_or(PLAN.seed),
        ..PLAN
    };
    let without_control = Plan {
        storm: Storm::NoControl,
        ..plan
    };
    let by = |health| Plan { health, ..plan };
    report(&simulate_all(
        &[
            (plan, Scenario::Whole),
            (by(Health::Both), Scenario::Failures),
        ],
        &[
            (without_control, Scenario::Storms),
            (by(Health::Clients), Scenario::Failures),
        ],
    ));
}

#[test]
fn a_rolling_restart_costs_no_client_its_socket_with_reattachment() {
    let plan = Plan {
        seed: seed().unwrap_or(PLAN.seed),
        ..PLAN
    };
    let by = |reattachment| Plan {
        reattachment,
        ..plan
    };
    report(&simulate_all(
        &[
            (by(Reattachment::OnLoss), Scenario::Deploy),
            (by(Reattachment::Moves), Scenario::Deploy),
        ],
        &[],
    ));
}

#[test]
fn blame_falls_on_the_upstream_that_fails_and_on_no_other() {
    let plan = Plan {
        seed: seed().unwrap_or(PLAN.seed),
        health: Health::Defaults,
        ..PLAN
    };
    let by = |health| Plan { health, ..plan };
    let weighted = Plan {
        weights: Weights::OneToTen,
        ..plan
    };
    let by_dns = Plan {
        naming: Naming::Dns,
        ..plan
    };
    report(&simulate_all(
        &[
            (plan, Scenario::Blame),
            (by(Health::Clients), Scenario::HalfOpen),
            (weighted, Scenario::Shares),
            (by_dns, Scenario::Names),
        ],
        &[(by(Health::Probes), Scenario::Blame)],
    ));
}

/// Prints the table, and checks the bounds.
fn report(fleets: &[Vec<Episode>]) {
    println!("{}", table::table(fleets));
    println!("{}", table::restarts(fleets));
    for episode in fleets.iter().flatten() {
        bounds::check(episode);
    }
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    let plan = Plan {
        clients: 200,
        health: Health::Both,
        ..PLAN
    };
    let once = simulate(plan, Scenario::Failures);
    let again = simulate(plan, Scenario::Failures);
    assert_eq!(format!("{once:#?}"), format!("{again:#?}"));
    let other = simulate(Plan { seed: 5, ..plan }, Scenario::Failures);
    assert_ne!(format!("{once:#?}"), format!("{other:#?}"));
}

/// A seed other than that of the documentation, from the environment.
fn seed() -> Option<u64> {
    let seed = std::env::var("SIMULATION_SEED").ok()?;
    Some(seed.parse().expect("SIMULATION_SEED is a number"))
}

/// Whether the fleets that only complete the table run as well.
fn is_whole() -> bool {
    std::env::var_os("SIMULATION_WHOLE").is_some()
}

/// Runs each fleet in a thread of its own: the machine is all that they share.
fn simulate_all(fleets: &[(Plan, Scenario)], compared: &[(Plan, Scenario)]) -> Vec<Vec<Episode>> {
    let compared = if is_whole() { compared } else { &[] };
    thread::scope(|scope| {
        let fleets: Vec<_> = fleets
            .iter()
            .chain(compared)
            .map(|(plan, scenario)| scope.spawn(|| simulate(*plan, *scenario)))
            .collect();
        let episodes = fleets.into_iter().map(thread::ScopedJoinHandle::join);
        episodes.map(Result::unwrap).collect()
    })
}

/// Chance is the thread's, so nothing else may run in this one meanwhile.
fn simulate(plan: Plan, scenario: Scenario) -> Vec<Episode> {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(scenario::run(plan, scenario))
}

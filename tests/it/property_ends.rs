//! Whole tunnels as state machines: random steps of both endpoints, of time and of the host, on a
//! paused clock, with the invariants of an end checked after each step that lets time pass.
//!
//! Each case is made from a number. A case that fails is reduced to the steps that make it fail,
//! and its number is printed: `WSPLICE_ENDS_SEED=<number>` runs that case alone, and
//! `WSPLICE_ENDS_CASES=<count>` runs more cases than usual.

mod laws;
mod pipe;
mod plan;
mod wire;
mod world;

use std::{collections::BTreeSet, env, panic};

use wsplice::TunnelEnd;

use super::property_inject::on_a_paused_clock;

use plan::{Plan, Step};
use world::{Ended, World};

/// Cases of an ordinary run.
const CASES: u64 = 600;

fn number(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

/// Runs a case, and panics where an invariant is broken. The ends that the tunnels came to.
fn run(plan: &Plan) -> Vec<Ended> {
    fastrand::seed(plan.seed);
    on_a_paused_clock(async {
        let mut world = World::new(plan);
        for step in &plan.steps {
            world.step(step).await;
            if let Step::Wait(_) = step {
                world.check().await;
            }
        }
        world.finish().await;
        world.ends()
    })
}

fn fails(plan: &Plan) -> bool {
    panic::catch_unwind(|| run(plan)).is_err()
}

/// The case with as few of its steps as make it fail.
fn reduced(mut plan: Plan) -> Plan {
    let mut len = plan.steps.len();
    while len > 0 {
        let mut at = 0;
        while at < plan.steps.len() {
            let mut less = plan.clone();
            less.steps.drain(at..(at + len).min(plan.steps.len()));
            match fails(&less) {
                true => plan = less,
                false => at += len,
            }
        }
        len /= 2;
    }
    plan
}

#[test]
fn every_tunnel_ends_once_within_its_bounds_and_as_its_report_says() {
    let seeds = match number("WSPLICE_ENDS_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("WSPLICE_ENDS_CASES").unwrap_or(CASES),
    };
    for seed in seeds {
        let plan = Plan::new(seed);
        if fails(&plan) {
            let plan = reduced(plan);
            println!("fails again with WSPLICE_ENDS_SEED={seed}; reduced to {plan:?}");
            let _ = run(&plan);
            panic!("failed with {seed}, and not when run again");
        }
    }
}

#[test]
fn the_cases_come_to_every_kind_of_end() {
    let ends = (1..=300).flat_map(|seed| run(&Plan::new(seed)));
    let kinds: BTreeSet<String> = ends.map(|ended| kind(&ended)).collect();
    for kind in [
        "Broken",
        "Closed",
        "ClosedWithoutFrame",
        "Drained",
        "Requested",
        "Timeout(CloseHandshake",
        "Timeout(HalfClose",
        "Timeout(Idle",
        "Timeout(MaxLifetime",
        "Timeout(Pong",
        "Timeout(Write",
        "TruncatedFrame",
        "Violation",
        "dropped",
    ] {
        assert!(kinds.contains(kind), "no {kind} among {kinds:?}");
    }
}

/// The kind of an end, without the side.
fn kind(ended: &Ended) -> String {
    let Some(report) = &ended.report else {
        return "dropped".to_owned();
    };
    let end = format!("{:?}", report.end);
    let delimiter = match report.end {
        TunnelEnd::Timeout(..) => ',',
        _ => '(',
    };
    end.split(delimiter).next().unwrap_or_default().to_owned()
}

//! Whole tunnels as state machines, with the invariants of an end; the fuzz target `tunnel_ends`
//! checks the same.
//!
//! Each case is made from a number. A case that fails is reduced to the steps that make it fail,
//! and its number is printed: `WSPLICE_ENDS_SEED=<number>` runs that case alone, and
//! `WSPLICE_ENDS_CASES=<count>` runs more cases than usual.

use std::{collections::BTreeSet, env, panic};

use wsplice::tunnel::TunnelEnd;

use super::ends_kit::{Ended, Plan, run};

/// Cases of an ordinary run.
const CASES: u64 = 600;

fn number(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

fn fails(plan: &Plan) -> bool {
    panic::catch_unwind(|| run(plan)).is_err()
}

#[test]
fn every_tunnel_ends_once_within_its_bounds_and_as_its_report_says() {
    let seeds = match number("WSPLICE_ENDS_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("WSPLICE_ENDS_CASES").unwrap_or(CASES),
    };
    for seed in seeds {
        let plan = Plan::from_seed(seed);
        if fails(&plan) {
            let plan = plan.reduced(fails);
            println!("fails again with WSPLICE_ENDS_SEED={seed}; reduced to {plan:?}");
            let _ = run(&plan);
            panic!("failed with {seed}, and not when run again");
        }
    }
}

#[test]
fn the_cases_come_to_every_kind_of_end() {
    let ends = (1..=300).flat_map(|seed| run(&Plan::from_seed(seed)));
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

//! Whole tunnels as state machines, with the invariants of an end; the fuzz target `tunnel_ends`
//! checks the same.
//!
//! Each case is made from a number. A case that fails is reduced to the steps that make it fail,
//! and the command that runs it alone is printed. `cases` has the variables.

use std::{collections::BTreeSet, panic};

use wsplice::tunnel::TunnelEnd;

use super::{
    cases::{Cases, again},
    ends_kit::{Ended, Plan, run},
};

/// Cases of an ordinary run.
const CASES: u64 = 600;

fn fails(plan: &Plan) -> bool {
    panic::catch_unwind(|| run(plan)).is_err()
}

#[test]
fn every_tunnel_ends_once_within_its_bounds_and_as_its_report_says() {
    for seed in Cases::of("ENDS", CASES).numbers {
        let plan = Plan::from_seed(seed);
        if fails(&plan) {
            let plan = plan.reduced(fails);
            println!("{}", again("ENDS", seed, "property_ends"));
            println!("reduced to {plan:?}");
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

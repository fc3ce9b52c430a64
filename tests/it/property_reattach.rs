//! Tunnels through the layer as state machines, with the invariants of reattachment and of moves; the
//! fuzz target `tunnel_reattach` checks the same.
//!
//! Each case is made from a number. A case that fails is reduced to the steps that make it fail, and
//! its number is printed: `WSPLICE_REATTACH_SEED=<number>` runs that case alone, and
//! `WSPLICE_REATTACH_CASES=<count>` runs more cases than usual.

use std::{collections::BTreeMap, env, panic};

use super::reattach_kit::{Event, Plan, run};

/// Cases of an ordinary run.
const CASES: u64 = 300;

fn number(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

#[test]
fn endpoints_get_whole_messages_in_order_over_losses_and_moves() {
    if let Some(seed) = number("WSPLICE_REATTACH_SEED") {
        return check(seed, &mut BTreeMap::new());
    }
    let mut kinds = BTreeMap::new();
    for seed in 1..=number("WSPLICE_REATTACH_CASES").unwrap_or(CASES) {
        check(seed, &mut kinds);
    }
    println!("{kinds:#?}");
    for kind in [
        "after broken",
        "after closed",
        "after closed_without_frame",
        "after moved",
        "after pong_timeout",
        "after write_timeout",
        "refused: client_message_cut",
        "refused: hook",
        "refused: lost_after_replay",
        "refused: refused",
        "refused: timeout",
        "refused: too_often",
        "refused: upstream_message_cut",
    ] {
        assert!(kinds.contains_key(kind), "no {kind} among {kinds:?}");
    }
}

/// Checks the case of this seed, and counts the kinds of its events.
fn check(seed: u64, kinds: &mut BTreeMap<String, usize>) {
    let plan = Plan::from_seed(seed);
    let Ok(events) = panic::catch_unwind(|| run(&plan)) else {
        let plan = plan.reduced(|plan| panic::catch_unwind(|| run(plan)).is_err());
        println!("fails again with WSPLICE_REATTACH_SEED={seed}; reduced to {plan:?}");
        let _ = run(&plan);
        panic!("failed with {seed}, and not when run again");
    };
    for event in &events {
        *kinds.entry(kind(event)).or_default() += 1;
    }
}

fn kind(event: &Event) -> String {
    match event {
        Event::Reattached { change, .. } => format!("after {}", change.loss.as_str()),
        Event::Refused { refusal, .. } => format!("refused: {}", refusal.as_str()),
        Event::Ended { report, .. } => match report.reattach_refusal {
            Some(refusal) => format!("refused: {}", refusal.as_str()),
            None => format!("ended: {}", report.end.as_str()),
        },
    }
}

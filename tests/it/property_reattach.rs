//! Tunnels through the layer as state machines, with the invariants of reattachment and of moves; the
//! fuzz target `tunnel_reattach` checks the same.
//!
//! Each case is made from a number. A case that fails is reduced to the steps that make it fail, and
//! the command that runs it alone is printed. `cases` has the variables.

use std::{collections::BTreeMap, panic};

use super::{
    cases::{Cases, again},
    reattach_kit::{Event, Plan, run},
};

/// Cases of an ordinary run.
const CASES: u64 = 300;

#[test]
fn endpoints_get_whole_messages_in_order_over_losses_and_moves() {
    let cases = Cases::of("REATTACH", CASES);
    let mut kinds = BTreeMap::new();
    for seed in cases.numbers {
        check(seed, &mut kinds);
    }
    println!("{kinds:#?}");
    if cases.are_many {
        assert_each_kind(&kinds);
    }
}

fn assert_each_kind(kinds: &BTreeMap<String, usize>) {
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
        println!("{}", again("REATTACH", seed, "property_reattach"));
        println!("reduced to {plan:?}");
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

//! Random streams of messages in both directions, with random fragments, control frames and cuts,
//! and upstreams that are lost at random: each endpoint gets whole messages, in order, none twice but
//! those that are replayed, and no more are missing than the semantics allow.
//!
//! Each case is made from a number: `WSPLICE_REATTACH_SEED=<number>` runs that case alone, and
//! `WSPLICE_REATTACH_CASES=<count>` runs more cases than usual. `parties` are the endpoints, `laws` the
//! properties.

mod laws;
mod parties;

use std::{collections::BTreeMap, env};

use wsplice::ReattachRefusal;

use crate::support::{clock::on_a_paused_clock, rng::Xorshift};

/// Cases of an ordinary run.
const CASES: u64 = 250;

/// The settings of a case.
#[derive(Clone, Copy, Debug)]
struct Plan {
    seed: u64,
    /// Upstreams that the tunnel has one after another, if nothing forbids it.
    upstreams: usize,
    /// Messages of the client that are sent to each upstream first.
    replay: usize,
    /// Messages of an upstream that are kept from the client.
    swallow: usize,
    /// Whether the host sends messages of its own.
    restores: bool,
    /// Bytes that a connection to an upstream takes before it stalls.
    capacity: usize,
}

impl Plan {
    fn from_seed(seed: u64) -> Self {
        let mut rng = Xorshift::new(seed ^ 0xA77AC4);
        // The first numbers of similar seeds are similar.
        let _ = rng.bytes(64);
        let capacities = [16, 100, 700, 5000, 65_536];
        Self {
            seed,
            upstreams: 2 + rng.below(5),
            replay: rng.below(5).saturating_sub(1),
            swallow: rng.below(4).saturating_sub(1),
            restores: rng.below(2) == 0,
            capacity: capacities[rng.below(capacities.len())],
        }
    }

    /// Random numbers of one party.
    fn rng(&self, party: u64) -> Xorshift {
        let mut rng = Xorshift::new(self.seed * 1000 + party);
        let _ = rng.bytes(64);
        rng
    }
}

fn number(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

/// Runs a case, checks the laws, and returns the number of reattachments and the refusal.
fn run(plan: Plan) -> (usize, Option<ReattachRefusal>) {
    fastrand::seed(plan.seed);
    let seen = on_a_paused_clock(parties::run(plan));
    laws::check(plan, &seen);
    (
        seen.report.upstream_changes.len(),
        seen.report.reattach_refusal,
    )
}

#[test]
fn endpoints_get_whole_messages_in_order_over_the_losses_of_upstreams() {
    if let Some(seed) = number("WSPLICE_REATTACH_SEED") {
        println!(
            "{:?}: {:?}",
            Plan::from_seed(seed),
            run(Plan::from_seed(seed))
        );
        return;
    }
    let cases = number("WSPLICE_REATTACH_CASES").unwrap_or(CASES);
    let (mut reattached, mut refusals) = (0, BTreeMap::new());
    for seed in 1..=cases {
        let plan = Plan::from_seed(seed);
        println!("WSPLICE_REATTACH_SEED={seed}: {plan:?}");
        let (changes, refusal) = run(plan);
        reattached += changes;
        *refusals
            .entry(refusal.map(ReattachRefusal::as_str))
            .or_insert(0_u64) += 1;
    }
    println!("{reattached} reattachments; {refusals:?}");
    assert!(reattached as u64 >= cases, "too few: {reattached}");
    for refusal in [
        None,
        Some("client_message_cut"),
        Some("upstream_message_cut"),
        Some("lost_after_replay"),
    ] {
        assert!(refusals.contains_key(&refusal), "{refusals:?}");
    }
}

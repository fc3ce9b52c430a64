//! Whole tunnels as state machines: random steps of both endpoints, of time and of the host, on a
//! paused clock, with the invariants of an end checked after each step that lets time pass.
//!
//! A case is made from a seed or from the bytes of a fuzzer. `plan` has its settings and steps;
//! `world` does the steps to its tunnels (`live`) and keeps their ends (`ends`). `laws` are the
//! invariants, and `wire` is the oracle of the bytes that a side receives.

mod ends;
mod laws;
mod live;
mod plan;
mod wire;
mod world;

use crate::support::clock::on_a_paused_clock;

pub(crate) use ends::Ended;
pub(crate) use plan::Plan;

use world::World;

/// Runs a case, and panics where an invariant is broken. The ends that the tunnels came to.
pub(crate) fn run(plan: &Plan) -> Vec<Ended> {
    fastrand::seed(plan.seed);
    on_a_paused_clock(async {
        let mut world = World::new(plan);
        for step in &plan.steps {
            world.step(step).await;
            if step.takes_time() {
                world.check().await;
            }
        }
        world.finish().await;
        world.ends()
    })
}

//! Tunnels through the layer as state machines: random steps of clients, of their upstreams one after
//! another, of the network between them, of operators and of time, on a paused clock, with the
//! invariants of reattachment and of moves checked after each step that lets time pass.
//!
//! A case is made from a seed or from the bytes of a fuzzer. `plan` has its settings and steps;
//! `world` does the steps to its parties (`party`), of which the upstreams accept the handshake as the
//! `network` lets them, and keeps a `record` of the proxy's events. `laws` are the invariants, and
//! `reader` is the decoder of the bytes that a party receives.

mod laws;
mod network;
mod party;
mod plan;
mod reader;
mod record;
mod world;

use crate::support::clock::on_a_paused_clock;

pub(crate) use plan::Plan;
pub(crate) use record::Event;

use world::World;

/// Runs a case, and panics where an invariant is broken. The proxy's events.
pub(crate) fn run(plan: &Plan) -> Vec<Event> {
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
        world.events()
    })
}
